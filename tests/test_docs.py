"""The pages of the documentation: what they show is what happens, and the site builds without a warning."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_examples(page: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    shown = page.read_text(encoding="utf-8").count(">>>")
    options = doctest.ELLIPSIS
    failed, attempted = doctest.testfile(str(page), module_relative=False, optionflags=options)
    assert failed == 0 and attempted <= shown and (attempted > 0) == (shown > 0)


def test_every_page_is_in_the_menu(repository: Path) -> None:
    menu = re.findall(r"^  - (\S+\.md)$", (repository / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(menu) == [page.name for page in PAGES]


@pytest.mark.slow
def test_the_site_builds(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    api = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "independence_test" in api and "nan_policy" in api
