"""Plots for Dagster metadata: small SVG bar charts that the UI shows inline."""

import base64
from collections.abc import Sequence
from html import escape

from phyagi_assets.formatting import short

_BAR, _LETTER, _GAP, _HEIGHT, _MARGIN = 34, 7, 6, 120, 26


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return Markdown with an embedded bar chart.

    Parameters
    ----------
    title
        Title of the chart.
    bars
        Label and height of each bar.
    """
    encoded = base64.b64encode(bar_chart_svg(title, bars).encode()).decode()
    return f"![{title}](data:image/svg+xml;base64,{encoded})"


def bar_chart_svg(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return a bar chart as SVG; the parameters are those of `bar_chart`."""
    top = max((height for _, height in bars), default=0) or 1
    bar = max(_BAR, *(_LETTER * len(label) for label, _ in bars), 0)
    width = max(_MARGIN * 2 + len(bars) * (bar + _GAP), _LETTER * len(title) + _MARGIN * 2)
    floor = _MARGIN * 1.5 + _HEIGHT
    drawn = []
    for i, (label, height) in enumerate(bars):
        x, tall = _MARGIN + i * (bar + _GAP), _HEIGHT * height / top
        middle = x + bar / 2
        drawn.append(
            f'<rect x="{x}" y="{floor - tall:.1f}" width="{bar}" height="{tall:.1f}" rx="2" fill="#4f43dd"/>'
            f'<text x="{middle}" y="{floor - tall - 4:.1f}" text-anchor="middle" fill="#555">{short(height)}</text>'
            f'<text x="{middle}" y="{floor + 14}" text-anchor="middle">{escape(label)}</text>'
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{floor + _MARGIN:.0f}"'
        ' font-family="sans-serif" font-size="10">'
        '<rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_MARGIN}" y="16" font-size="12">{escape(title)}</text>{"".join(drawn)}</svg>'
    )
