"""Bar charts for Dagster metadata, as small SVG images in Markdown.

The UI shows Markdown of fewer than 1,000 characters at once, and the rest behind a click. So a chart is one path for all bars, and as many
labels as fit. Its colors are legible on a light and on a dark page.
"""

from collections.abc import Sequence
from html import escape

from phyagi_assets.formatting import short

SHOWN_AT_ONCE = 1000
"""Length of Markdown, in characters, from which on the UI shows it only after a click."""
_BAR, _LETTER, _GAP, _TALL, _TOP, _LINE = 26, 6.5, 4, 80, 34, 14
"""Widths of a bar, of a letter and of a gap, height of the highest bar, room above it, and height of a line, in pixels."""
_ENCODED = str.maketrans({"%": "%25", "<": "%3C", ">": "%3E", "#": "%23", "&": "%26", "\\": "%5C"})


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return Markdown with an embedded bar chart.

    Parameters
    ----------
    title
        Title of the chart.
    bars
        Label and height of each bar. If the labels would make the chart so long that the UI hides it, only every second one is drawn, or
        fewer.
    """
    every = 1
    while len(chart := _image(title, bar_chart_svg(title, bars, every))) >= SHOWN_AT_ONCE and every < len(bars):
        every += 1
    return chart


def bar_chart_svg(title: str, bars: Sequence[tuple[str, float]], every: int = 1) -> str:
    """Return a bar chart as SVG.

    Parameters
    ----------
    title
        Title of the chart.
    bars
        Label and height of each bar.
    every
        Draw the label and the value of every such bar, beginning with the first.
    """
    top = max((height for _, height in bars), default=0) or 1
    longest = max((len(text) for label, height in bars[::every] for text in (label, short(height))), default=0)
    step = max(_BAR, round(_LETTER * longest / every)) + _GAP
    width = max(len(bars) * step, round(_LETTER * len(title))) + _GAP
    floor = _TOP + _TALL
    texts, path = [f"<text x='2' y='11' text-anchor='start'>{escape(title)}</text>"], ""
    for i, (label, height) in enumerate(bars):
        tall, middle = round(_TALL * height / top), _GAP + i * step + (step - _GAP) // 2
        path += f"M{middle} {floor}v-{tall}"
        if i % every == 0:
            texts += [
                f"<text x='{middle}' y='{floor - tall - 3}'>{short(height)}</text>",
                f"<text x='{middle}' y='{floor + _LINE - 2}'>{escape(label)}</text>",
            ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{floor + _LINE}' font-family='sans-serif' font-size='11' "
        f"text-anchor='middle' fill='#888'>{''.join(texts)}<path stroke='#7a6ff0' stroke-width='{step - _GAP}' d='{path}'/></svg>"
    )


def _image(title: str, svg: str) -> str:
    alternative = title.replace("\\", "").replace("[", "").replace("]", "")
    return f"![{alternative}](<data:image/svg+xml,{svg.translate(_ENCODED)}>)"
