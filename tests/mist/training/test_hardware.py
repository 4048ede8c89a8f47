"""What "auto" becomes on the machine at hand."""

from __future__ import annotations

import pytest
import torch

from mist.training.hardware import Hardware, detect


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine of six cores without a GPU."""
    monkeypatch.setattr("mist.training.hardware._cores", lambda: 6)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def give_gpus(machine: pytest.MonkeyPatch, count: int, bf16: bool) -> None:
    machine.setattr(torch.cuda, "is_available", lambda: True)
    machine.setattr(torch.cuda, "device_count", lambda: count)
    machine.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation)


def test_cpu(machine: pytest.MonkeyPatch) -> None:
    assert detect() == Hardware("cpu", processes=4, threads=1, precision="32-true")
    machine.setattr("mist.training.hardware._cores", lambda: 1)
    assert detect() == Hardware("cpu", processes=1, threads=1, precision="32-true")


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_gpus(machine: pytest.MonkeyPatch, bf16: bool, precision: str) -> None:
    give_gpus(machine, 3, bf16)
    assert detect() == Hardware("cuda", processes=2, threads=3, precision=precision)
    assert detect(accelerator="cpu").precision == "32-true"


def test_what_is_asked_for_is_kept(machine: pytest.MonkeyPatch) -> None:
    assert detect("cpu", 2, "64-true") == Hardware("cpu", processes=2, threads=3, precision="64-true")
    assert detect(processes=8).threads == 1


@pytest.mark.parametrize("processes", [0, -1, "two", 1.5])
def test_unusable_numbers_of_processes(processes: int | str) -> None:
    with pytest.raises(ValueError, match=f"got processes={processes!r}, expected a positive number of them, or 'auto'"):
        detect(processes=processes)  # type: ignore[arg-type]


def test_unknown_accelerator(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="got accelerator='abacus', expected auto, cpu or cuda"):
        detect(accelerator="abacus")
    assert detect(accelerator="gpu", processes=1).accelerator == "cuda"


def test_it_is_printable(machine: pytest.MonkeyPatch) -> None:
    assert str(detect()) == "4 × cpu (1 threads each), precision 32-true"


def test_this_machine() -> None:
    hardware = detect()
    assert hardware.processes in (1, 2, 4, 8) and hardware.threads >= 1
