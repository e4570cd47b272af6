"""Bar charts for Dagster metadata, as small SVG images in Markdown.

The UI shows Markdown of fewer than 1,000 characters at once, and the rest behind a click. A chart is therefore a single path for all bars,
with as many labels as fit. Its text has a contrast of 4.5 to 1 on a light and on a dark page.
"""

import re
from collections.abc import Sequence
from html import escape
from itertools import takewhile

from phyagi_assets.formatting import short

SHOWN_AT_ONCE = 1000
"""Length of Markdown, in characters, at which the UI shows it only after a click."""
WIDTH = 320
"""Largest width of a chart, in pixels; a table of metadata on a page of 1,440 pixels has room for it."""
_BAR, _LETTER, _SHORTEST, _GAP, _TALL, _TOP, _LINE = 44, 6.2, 8, 3, 80, 34, 14
"""Largest width of a bar, width of a letter, fewest letters of a cut label, gap, height of the highest bar, room above it, and height of a
line; in pixels, but for the letters."""
_ENCODED = str.maketrans({"%": "%25", "<": "%3C", ">": "%3E", "#": "%23", "&": "%26", "\\": "%5C"})


def bar_chart(title: str, bars: Sequence[tuple[str, float]]) -> str:
    """Return Markdown with an embedded bar chart.

    Parameters
    ----------
    bars
        Label and height of each bar. If labels have no room, or make the chart so long that the UI hides it, only every second one is
        drawn, or fewer.
    """
    longest = max((len(label) for label, _ in bars), default=0)
    every = 1
    while every < len(bars) and _room(len(bars), every) < min(longest, _SHORTEST):
        every += 1
    while len(chart := _image(title, bar_chart_svg(title, bars, every))) >= SHOWN_AT_ONCE and every < len(bars):
        every += 1
    return chart


def bar_chart_svg(title: str, bars: Sequence[tuple[str, float]], every: int = 1) -> str:
    """Return a bar chart as SVG.

    Parameters
    ----------
    every
        Draw the label and the value of every such bar, beginning with the first. Labels that are too long are cut, first by what all of
        them begin with.
    """
    top = max((height for _, height in bars), default=0) or 1
    step, room = _step(len(bars)), _room(len(bars), every)
    labels = _shortened([label for label, _ in bars], room)
    longest = max(map(len, labels), default=0)
    left = _GAP + max(0, int(_LETTER * longest - step) // 2)
    width = max(2 * left + len(bars) * step, round(_LETTER * len(title)) + _GAP)
    floor = _TOP + _TALL
    texts, path = [f"<text x='2' y='11' text-anchor='start'>{escape(title)}</text>"], ""
    for i, (label, (_, height)) in enumerate(zip(labels, bars, strict=True)):
        tall, middle = round(_TALL * height / top), left + i * step + step // 2
        path += f"M{middle} {floor}v-{tall}"
        if i % every == 0:
            texts += [
                f"<text x='{middle}' y='{floor - tall - 3}'>{short(height)}</text>",
                f"<text x='{middle}' y='{floor + _LINE - 2}'>{escape(label)}</text>",
            ]
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{floor + _LINE}' font-family='sans-serif' font-size='11' "
        f"text-anchor='middle' fill='#767676'>{''.join(texts)}"
        f"<path stroke='#7a6ff0' stroke-width='{max(1, step - _GAP)}' d='{path}'/></svg>"
    )


def _shortened(labels: Sequence[str], room: int) -> list[str]:
    """Return labels of at most `room` characters, without the words that all of them begin with if one is longer."""
    if all(len(label) <= room for label in labels):
        return list(labels)
    common = "".join(letters[0] for letters in takewhile(lambda letters: len(set(letters)) == 1, zip(*labels, strict=False)))
    shared = re.sub(r"\w*$", "", common) if len(labels) > 1 else ""
    shown = [f"…{label[len(shared) :]}" for label in labels] if len(shared) > 1 else labels
    return [label if len(label) <= room else f"{label[: max(1, room - 1)]}…" for label in shown]


def _step(count: int) -> int:
    """Return the distance between bars."""
    if count > WIDTH // (_BAR * 2):
        return max(2, min(_BAR + _GAP, WIDTH // count))
    return 2 * _BAR  # few bars have room for longer labels


def _room(count: int, every: int) -> int:
    """Return the number of letters for which there is room under a bar."""
    return int(_step(count) * every / _LETTER)


def _image(title: str, svg: str) -> str:
    alternative = title.replace("\\", "").replace("[", "").replace("]", "")
    return f"![{alternative}](<data:image/svg+xml,{svg.translate(_ENCODED)}>)"
