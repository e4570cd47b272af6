"""Charts as SVG that is part of an HTML page, whose style sheet gives the colors."""

from collections.abc import Sequence
from html import escape
from itertools import accumulate, pairwise

from phyagi_assets.formatting import short

PALETTE = ("#4a63d8", "#1f9d8b", "#d9822b", "#b5489a", "#6b8e23", "#7a7f8c")
"""Colors of the corpora of a mixture, in order."""
_WIDTH, _HEIGHT, _TOP, _BOTTOM, _LEFT = 860, 170, 18, 26, 52
"""Size of a chart and of its margins, in pixels of the drawing."""
_MOST = 120
"""Largest number of columns; neighbours are added up beyond it."""


def columns(title: str, values: Sequence[tuple[str, float]], unit: str) -> str:
    """Return a chart with one column for each value, in the order given. Screen readers read the title out.

    Parameters
    ----------
    values
        Label and height of each column. Beyond 120 columns, neighbours are added up.
    """
    values = _grouped(values)
    most = max((value for _, value in values), default=0) or 1
    step = (_WIDTH - _LEFT - 8) / max(1, len(values))
    floor = _HEIGHT - _BOTTOM
    drawn = []
    for i, (label, value) in enumerate(values):
        tall = (floor - _TOP) * value / most
        x = _LEFT + i * step
        drawn.append(
            f'<rect class="bar" x="{x:.1f}" y="{floor - tall:.1f}" width="{max(1.0, min(step * 0.8, 60)):.1f}" height="{tall:.1f}">'
            f"<title>{escape(label)}: {value:,.0f} {escape(unit)}</title></rect>"
        )
    shown = range(len(values)) if len(values) <= 12 else sorted({0, len(values) // 2, len(values) - 1})
    room = step - 4 if len(values) <= 12 else 180
    for i in shown:
        label = _cut(values[i][0], room)
        is_last = i == len(values) - 1 and len(values) > 12
        x = _WIDTH - 8 if is_last else _LEFT + i * step
        anchor = ' text-anchor="end"' if is_last else ""
        drawn.append(f'<text x="{x:.1f}" y="{floor + 16}"{anchor}>{escape(label)}</text>')
    axis = (
        f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH}" y1="{floor}" y2="{floor}"/>'
        f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH}" y1="{_TOP}" y2="{_TOP}"/>'
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{short(most)}</text>'
        f'<text x="{_LEFT - 6}" y="{floor}" text-anchor="end">0</text>'
    )
    summary = f"{title}: {len(values)} columns, the highest has {most:,.0f} {unit}"
    return f'<svg role="img" aria-label="{escape(summary)}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{axis}{"".join(drawn)}</svg>'


def shares(title: str, parts: Sequence[tuple[str, float]]) -> str:
    """Return one bar that is divided into parts, given their labels and shares, from 0 to 1."""
    drawn, x = [], 0.0
    for i, (label, share) in enumerate(parts):
        width = _WIDTH * share
        drawn.append(
            f'<rect fill="{PALETTE[i % len(PALETTE)]}" x="{x:.1f}" y="0" width="{max(0.0, width - 1):.1f}" height="26">'
            f"<title>{escape(label)}: {share:.2%}</title></rect>"
        )
        x += width
    summary = f"{title}: {', '.join(f'{label} {share:.1%}' for label, share in parts)}"
    return f'<svg role="img" aria-label="{escape(summary)}" viewBox="0 0 {_WIDTH} 26">{"".join(drawn)}</svg>'


def _cut(label: str, room: float) -> str:
    """Cut a label to a width, in pixels, given the widths of letters in a wide font of 12 pixels."""
    ends = list(accumulate(12 if letter in "mwMWOQ@%" else 4.5 if letter in "fijlrtI.,:;'|()[] " else 8 for letter in label))
    if not ends or ends[-1] <= room:
        return label
    return f"{label[: sum(end <= room - 12 for end in ends)]}…"


def _grouped(values: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Add up neighbours, in groups whose sizes differ by at most one, so that at most `_MOST` columns are left."""
    if len(values) <= _MOST:
        return list(values)
    bounds = [len(values) * i // _MOST for i in range(_MOST + 1)]
    groups = [values[start:stop] for start, stop in pairwise(bounds)]
    return [(f"{group[0][0]} – {group[-1][0]}" if len(group) > 1 else group[0][0], sum(value for _, value in group)) for group in groups]
