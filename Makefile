# Two commands on a fresh machine: `make demo` and `make test`.
#
# TORCH is what pip is given for torch, before anything else, so that nothing later pulls another build. Other builds:
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"      CPU only, a small download
#   make demo TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cu130"    CUDA 13.0
#   make demo TORCH="torch>=2.6"                                                          the newest on PyPI
TORCH  ?= torch==2.13.0
PYTHON ?= python3
VENV   ?= .venv

BIN  := $(VENV)/bin
PIP  := $(BIN)/python -m pip --disable-pip-version-check --no-input
ARGS ?=

.PHONY: demo test lint benchmark docs clean

## demo: estimate MI on real tables with the shipped checkpoint
demo: $(VENV)/.demo
	$(BIN)/python examples/demo.py

## test: fast and slow tests, none that need a GPU
test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not gpu" $(ARGS)

## lint: ruff (check and format) and mypy
lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## benchmark: the evaluation report, for example make benchmark ARGS="--suite core"
benchmark: $(VENV)/.test
	$(BIN)/python -m mist.evaluation $(ARGS)

## docs: the site of the documentation, in site/
docs: $(VENV)/.test
	$(BIN)/python -m mkdocs build --strict

## clean: the environment, builds and caches (never outputs of runs)
clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# torch first and alone; its exact build then constrains every later install, which fails rather than replaces it.
$(VENV)/torch.txt:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python >= 3.11 is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(TORCH)
	$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $@.part
	mv $@.part $@

$(VENV)/.demo: $(VENV)/torch.txt pyproject.toml
	$(PIP) install --quiet --constraint $(VENV)/torch.txt --editable ".[demo]"
	touch $@

$(VENV)/.test: $(VENV)/torch.txt pyproject.toml
	$(PIP) install --quiet --constraint $(VENV)/torch.txt --editable ".[test]"
	touch $@

$(VENV)/.lint: $(VENV)/.test
	$(PIP) install --quiet --constraint $(VENV)/torch.txt --editable ".[lint]"
	touch $@
