"""A chart of the losses of a run: one SVG file that needs no other file."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from phyagi_assets.cli.charts import PALETTE
from phyagi_assets.inspection.loss_report import CorpusLosses, LossPoint, LossReport

_WIDTH, _HEIGHT = 900, 460
"""Size of the chart without its legend, in pixels of the drawing."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 46, 44
_LEGEND = 20
"""Height of a line of the legend."""
_TICKS = 6
"""Largest number of labels on an axis."""
_DASHES = ("", "7 4", "2 3")
"""Dashes of the curves, each for as many corpora as there are colors."""


def loss_chart(report: LossReport) -> str:
    """Return the curves of a report as SVG: the loss of each corpus by step, with a mark at each spike."""
    points = [point.loss for corpus in report.corpora for point in corpus.curve if point.loss is not None]
    losses = _ticks(min(points, default=0.0), max(points, default=1.0))
    steps = [step for step in _ticks(report.first_step, report.last_step) if step == int(step)]
    low, high = losses[0], losses[-1]
    begin, end = report.first_step, max(report.last_step, report.first_step + 1)
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(step: float) -> float:
        return _LEFT + (right - _LEFT) * (step - begin) / (end - begin)

    def y(loss: float) -> float:
        return floor - (floor - _TOP) * (loss - low) / (high - low)

    drawn = [f'<text x="{_LEFT}" y="22" font-size="15">{escape(f"Loss by corpus of {report.mixture}, in nats per token")}</text>']
    for loss in losses:
        drawn.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y(loss):.1f}" y2="{y(loss):.1f}" stroke="#d5dae3"/>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.4g}</text>')
    for step in steps:
        if begin <= step <= end:
            drawn.append(f'<text x="{x(step):.1f}" y="{floor + 18}" text-anchor="middle">{step:,.0f}</text>')
    drawn.append(f'<text x="{right}" y="{floor + 36}" text-anchor="end">step</text>')
    for spike in report.spikes:
        told = f"spike at step {spike.peak:,}"
        drawn.append(
            f'<line x1="{x(spike.peak):.1f}" x2="{x(spike.peak):.1f}" y1="{_TOP}" y2="{floor}" stroke="#c2410c" stroke-dasharray="3 3">'
            f"<title>{told}</title></line>"
        )
    for number, corpus in enumerate(report.corpora):
        line = f'stroke="{PALETTE[number % len(PALETTE)]}" stroke-width="2" stroke-dasharray="{_dashes(number)}"'
        for part in _unbroken(corpus.curve):
            at = " ".join(f"{x(point.step):.1f},{y(point.loss or 0.0):.1f}" for point in part)
            at = at if len(part) > 1 else f"{at} {x(part[0].step) + 2:.1f},{y(part[0].loss or 0.0):.1f}"
            drawn.append(f'<polyline fill="none" {line} points="{at}"/>')
        middle = _HEIGHT + _LEGEND * number
        drawn.append(f'<line x1="{_LEFT}" x2="{_LEFT + 30}" y1="{middle}" y2="{middle}" {line}/>')
        drawn.append(f'<text x="{_LEFT + 40}" y="{middle + 4}">{escape(_summary(corpus))}</text>')
    height = _HEIGHT + _LEGEND * len(report.corpora)
    told = "; ".join(map(_summary, report.corpora))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(f"Loss by corpus of {report.mixture}: {told}")}"'
        f' viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12" fill="#1d2330">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _summary(corpus: CorpusLosses) -> str:
    first, last = ("–" if loss is None else f"{loss:.3f}" for loss in (corpus.first, corpus.last))
    return f"{corpus.corpus}: {first} in the first tenth of the steps, {last} in the last"


def _dashes(number: int) -> str:
    return _DASHES[number // len(PALETTE) % len(_DASHES)]


def _unbroken(curve: Sequence[LossPoint]) -> Iterator[list[LossPoint]]:
    """Yield the longest parts of a curve in which every point has a loss."""
    part: list[LossPoint] = []
    for point in curve:
        if point.loss is not None:
            part.append(point)
        elif part:
            yield part
            part = []
    if part:
        yield part


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers at equal distances, of which the first is at most `low`, and the last at least `high`."""
    span = high - low or max(abs(high), 1.0)
    unit = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit * (_TICKS - 1) >= span)
    return [step * number for number in range(math.floor(low / step), math.ceil(high / step) + 1 + (low == high))]
