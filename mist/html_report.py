"""One self-contained HTML page of all pairs of a table: heat map, sortable table, scatter plots, warnings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist.categories import is_missing
from mist.screening import PairwiseMI

__all__ = ["html_report"]

_MOST_POINTS = 400  # drawn in a scatter plot
_MOST_HEAT = 80  # variables in the heat map
_PALETTE = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1a1a1a; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: left; }
th { cursor: pointer; user-select: none; background: #f5f5f5; position: sticky; top: 0; }
th[data-order="1"]::after { content: " ▲"; } th[data-order="-1"]::after { content: " ▼"; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.warning { background: #fff6da; border-left: 4px solid #e0a800; padding: .3rem .8rem; margin: .4rem 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem; }
figure { margin: 0; } figcaption { font-size: .85rem; } .scroll { max-height: 34rem; overflow: auto; }
svg text { font: 10px system-ui, sans-serif; }
"""

# Headings sort the table; report.html#sort=2 opens it sorted by the column of that number, #sort=-2 from the largest.
_SCRIPT = """
const table = document.getElementById("pairs"), body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
function sortBy(column, order) {
  const key = row => row.cells[column].dataset.value;
  const rows = [...body.rows];
  rows.sort((a, b) => {
    const p = key(a), q = key(b), r = Number(p), s = Number(q);
    if (p === "" || q === "") return (p === "") - (q === "");
    return order * (Number.isNaN(r) || Number.isNaN(s) ? p.localeCompare(q) : r - s);
  });
  rows.forEach(row => body.appendChild(row));
  heads.forEach((head, i) => i === column ? head.dataset.order = order : delete head.dataset.order);
}
heads.forEach((head, i) => head.addEventListener("click", () => {
  sortBy(i, head.dataset.order ? -head.dataset.order : head.classList.contains("number") ? -1 : 1);
}));
const wanted = Number((location.hash.match(/^#sort=(-?\\d+)$/) || [])[1]);
if (wanted && Math.abs(wanted) <= heads.length) sortBy(Math.abs(wanted) - 1, Math.sign(wanted));
"""


def html_report(found: PairwiseMI, columns: Mapping[str, NDArray[Any]], title: str, num_scatter: int = 12) -> str:
    """The page, for pairs of single columns; `columns` are their values (n,), numbers or text, for the scatter plots.

    Nothing is loaded from anywhere: style, script and pictures are inside.
    """
    rows = found.rows()
    about = (
        f"{len(found.names)} columns, {len(rows['mi']):,} pairs, {int(found.n.max()):,} points; mutual information in "
        f"{found.units} with {found.level:.0%} intervals; checkpoint {escape(found.checkpoint)}"
    )
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in found.warnings)
    strongest = [
        _scatter(rows["x"][i], rows["y"][i], columns, _caption(rows, i, found))
        for i in range(min(num_scatter, len(rows["mi"])))
        if np.isfinite(rows["mi"][i])
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style></head>
<body>
<h1>{escape(title)}</h1>
<p>{about}</p>
{warnings}
<h2>Which columns go together</h2>
{_heat_map(found)}
<h2>All pairs</h2>
<div class="scroll">{_table(rows)}</div>
<h2>The strongest pairs</h2>
<div class="plots">{"".join(strongest)}</div>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _table(rows: Mapping[str, Any]) -> str:
    heads = "".join(f"<th{'' if name in ('x', 'y') else ' class=number'}>{name}</th>" for name in rows)
    lines = []
    for i in range(len(rows["mi"])):
        cells = []
        for name, values in rows.items():
            value = values[i]
            if name in ("x", "y"):
                cells.append(f'<td data-value="{escape(str(value))}">{escape(str(value))}</td>')
            else:
                known = np.isfinite(value)
                shown = "" if not known else f"{value:,}" if name == "n" else f"{value:.4f}"
                cells.append(f'<td class=number data-value="{float(value):.9g}">{shown}</td>' if known else _NOTHING)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table id="pairs"><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


_NOTHING = '<td class=number data-value=""></td>'


def _caption(rows: Mapping[str, Any], i: int, found: PairwiseMI) -> str:
    interval = f"{rows['low'][i]:.3g} to {rows['high'][i]:.3g}"
    return f"{rows['x'][i]} and {rows['y'][i]}: {rows['mi'][i]:.3g} {found.units} ({interval})"


def _colour(share: float) -> str:
    return _PALETTE[min(len(_PALETTE) - 1, int(share * len(_PALETTE)))]


def _heat_map(found: PairwiseMI) -> str:
    """Informational correlations as SVG, columns in clustered order; the most informative ones where they are many."""
    from mist.plotting import clustered_order

    chosen = np.arange(len(found.names))
    told = ""
    if len(chosen) > _MOST_HEAT:
        best = np.nanmax(np.where(np.isnan(found.mi), -1.0, found.mi), axis=1)
        chosen = np.sort(np.argsort(-best, kind="stable")[:_MOST_HEAT])
        told = f"<p>The {_MOST_HEAT} columns of the strongest pairs.</p>"
    values = found.normalized[np.ix_(chosen, chosen)]
    order = clustered_order(values)
    chosen, values = chosen[order], values[np.ix_(order, order)]
    size = max(8, min(32, 640 // len(chosen)))
    margin = 12 + 6 * max(len(_short(found.names[i])) for i in chosen)
    parts = []
    for row, i in enumerate(chosen):
        label = escape(_short(found.names[i]))
        y = margin + row * size
        parts.append(f'<text x="{margin - 4}" y="{y + size / 2 + 3}" text-anchor="end">{label}</text>')
        x = margin + row * size + size / 2 + 3
        parts.append(f'<text transform="translate({x},{margin - 4}) rotate(-90)">{label}</text>')
        for column, j in enumerate(chosen):
            if i == j or np.isnan(values[row, column]):
                continue
            note = escape(f"{found.names[i]} and {found.names[j]}: {found.mi[i, j]:.3g} {found.units}")
            parts.append(
                f'<rect x="{margin + column * size}" y="{y}" width="{size}" height="{size}" '
                f'fill="{_colour(values[row, column])}"><title>{note}</title></rect>'
            )
    whole = margin + size * len(chosen) + 10
    scale = "".join(f'<tspan fill="{colour}">■</tspan> {i / len(_PALETTE):.2g} ' for i, colour in enumerate(_PALETTE))
    legend = (
        f"<p><small>√(1 - exp(-2 MI)) from: <svg width='520' height='14'><text y='11'>{scale}</text></svg></small></p>"
    )
    return f'{told}<svg width="{whole}" height="{whole}" role="img">{"".join(parts)}</svg>{legend}'


def _short(name: str) -> str:
    return name if len(name) <= 18 else name[:17] + "…"


def _scatter(first: str, second: str, columns: Mapping[str, NDArray[Any]], caption: str) -> str:
    """Points of a pair as SVG, categories as evenly spaced lines with a fixed jitter."""
    x, y = (_places(np.asarray(columns[name]), step) for name, step in ((first, 0.6180339887), (second, 0.7548776662)))
    kept = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    if len(kept) > _MOST_POINTS:
        kept = kept[np.linspace(0, len(kept) - 1, _MOST_POINTS).round().astype(int)]
    dots = "".join(
        f'<circle cx="{10 + 200 * a:.1f}" cy="{210 - 200 * b:.1f}" r="1.8"/>' for a, b in zip(x[kept], y[kept])
    )
    frame = '<rect x="5" y="5" width="210" height="210" fill="none" stroke="#bbb"/>'
    return (
        f'<figure><svg viewBox="0 0 220 220" fill="#31688e" fill-opacity=".6">{frame}{dots}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _places(values: NDArray[Any], step: float) -> NDArray[np.float64]:
    """Places on [0, 1], NaN where missing: numbers by value; few levels, categories about their line."""
    if values.dtype.kind in "fiub":
        numbers = values.astype(np.float64)
    else:
        labels: Sequence[Any] = [None if is_missing(value) else str(value) for value in values.tolist()]
        known = {label: place for place, label in enumerate(sorted({label for label in labels if label is not None}))}
        numbers = np.array([np.nan if label is None else known[label] for label in labels])
    finite = numbers[np.isfinite(numbers)]
    if len(finite) == 0 or finite.min() == finite.max():
        return np.where(np.isfinite(numbers), 0.5, np.nan)
    places = (numbers - finite.min()) / (finite.max() - finite.min())
    levels = len(np.unique(finite))
    if levels <= 12:
        jitter = (np.arange(len(places)) * step) % 1 - 0.5
        places = 0.06 + 0.88 * places + 0.5 * jitter / levels * 0.88 / 2
    return np.asarray(places)
