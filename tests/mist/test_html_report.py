"""The page holds what was found, escapes what users wrote, loads nothing, and works in a browser."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mist.cli import main
from mist.html_report import html_report
from mist.inference import Estimator

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def columns(dim: int = 4) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    table = {f"c{i}": generator.normal(size=80) for i in range(dim)}
    table["<b>&\"'"] = table["c0"] + generator.normal(size=80)
    return table


def page(estimator: Estimator, table: dict[str, np.ndarray], **options: int) -> str:
    return html_report(estimator.pairwise(table, nan_policy="pairwise"), table, "Title & more", **options)


class Elements(HTMLParser):
    """Tags with their attributes, the text of the cells of the table, and whether tags close in order."""

    VOID = {"meta", "link"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["td"]:
            self.cells[-1] += data


def test_the_table_is_that_of_the_result(tiny_estimator: Estimator) -> None:
    table = columns()
    found = tiny_estimator.pairwise(table)
    elements = Elements(html_report(found, table, "t"))
    rows = np.array(elements.cells).reshape(-1, 6)
    expected = found.rows()
    assert rows[:, 0].tolist() == expected["x"] and rows[:, 1].tolist() == expected["y"]
    np.testing.assert_allclose(rows[:, 2].astype(float), expected["mi"], atol=5e-5)
    assert "<b>&\"'" in rows[:, :2]


def test_pictures(tiny_estimator: Estimator) -> None:
    tags = Elements(page(tiny_estimator, columns(), num_scatter=3)).tags
    counts = {name: sum(tag == name for tag, _ in tags) for name in ("figure", "circle", "rect")}
    assert counts == {"figure": 3, "circle": 3 * 80, "rect": 5 * 4 + 3}
    places = [float(attributes[at] or 0) for tag, attributes in tags if tag == "circle" for at in ("cx", "cy")]
    assert 10 <= min(places) and max(places) <= 210


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_missing_values_categories_and_many_columns(tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist.html_report._MOST_HEAT", 3)
    table = columns()
    table["kind"] = np.array(["a", "b", None, "c"] * 20, dtype=object)
    table["c1"][:78] = np.nan
    text = page(tiny_estimator, table)
    assert "not trained on unordered categories" in text and "The 3 columns of the strongest pairs." in text
    tags = Elements(text).tags
    assert sum(attributes.get("data-value") == "" for _, attributes in tags) == 3 * 5  # no two points in common


def test_nothing_is_loaded_from_anywhere(tiny_estimator: Estimator) -> None:
    text = page(tiny_estimator, columns())
    assert "//" not in re.sub(r"http://www\.w3\.org/\S+", "", text)
    for tag, attributes in Elements(text).tags:
        assert tag not in ("img", "iframe", "object", "embed") and "src" not in attributes
        assert attributes.get("href", "data:,") == "data:,"


def test_command(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(columns(), tmp_path / "data.csv")
    output = tmp_path / "report.html"
    assert main(["report", str(path), "-o", str(output), "--checkpoint", str(tiny_checkpoint), "--units", "bits"]) == 0
    assert f"wrote {output}" in capsys.readouterr().out
    text = output.read_text(encoding="utf-8")
    assert "<title>Mutual information in data.csv</title>" in text and "bits with 90% intervals" in text


def write(table: dict[str, np.ndarray], path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values()))
    return path


@pytest.mark.slow
def test_in_a_browser(tiny_estimator: Estimator, tmp_path: Path) -> None:
    """It renders, the table sorts, no request leaves the page."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium: apt-get install chromium")
    report = tmp_path / "report.html"
    report.write_text(page(tiny_estimator, columns()), encoding="utf-8")

    def opened(fragment: str, *options: str) -> str:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        flags += ["--disable-component-update", "--disable-sync", "--disable-quic", "--disable-extensions"]
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        url = f"{report.as_uri()}{fragment}"
        command = [browser, *flags, profile, *options, "--virtual-time-budget=2000", "--dump-dom", url]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    log, picture = tmp_path / "net.json", tmp_path / "page.png"
    as_given = np.array(Elements(opened("", f"--log-net-log={log}")).cells).reshape(-1, 6)
    falling = np.array(Elements(opened("#sort=-4")).cells).reshape(-1, 6)[:, 3].astype(float)
    rising = np.array(Elements(opened("#sort=1")).cells).reshape(-1, 6)[:, 0]
    assert len(as_given) == 10 and (np.diff(as_given[:, 2].astype(float)) <= 0).all()
    assert (np.diff(falling) <= 0).all() and sorted(falling) == sorted(as_given[:, 3].astype(float))
    assert sorted(rising, key=str.casefold) == sorted(as_given[:, 0], key=str.casefold) and rising[-1].startswith("c")
    opened("", f"--screenshot={picture}", "--window-size=900,700")
    assert picture.stat().st_size > 10_000
    assert requests(log) == set()
    report.write_text(report.read_text(encoding="utf-8").replace("<h2>", "<img src='http://127.0.0.1:9/x.png'><h2>", 1))
    opened("", f"--log-net-log={log}")
    assert requests(log) == {"http://127.0.0.1:9/x.png"}  # the log would have told


def requests(log: Path) -> set[str]:
    """Addresses in a browser's log of its network, but for those that Chromium asks its maker at every start."""
    text = log.read_text().rstrip()
    events = json.loads(text if text.endswith("}") else text.rstrip(",") + "]}")["events"]
    asked = {str(event.get("params", {}).get("url", "")) for event in events}
    return {url for url in asked if url.startswith(("http:", "https:", "ws:")) and ".google" not in url}
