"""A chart of the losses of a run: one SVG file that needs no other file."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from phyagi_assets.cli.charts import PALETTE
from phyagi_assets.inspection.loss_report import CorpusLosses, LossPoint, LossReport, LossSpike

_WIDTH, _HEIGHT = 900, 460
"""Size of the chart without its legend, in pixels of the drawing."""
_LEFT, _END, _TOP, _FLOOR = 64, _WIDTH - 20, 46, _HEIGHT - 44
"""Sides of the area of the curves."""
_LEGEND = 20
"""Height of a line of the legend."""
_TICKS = 6
"""Largest number of labels on an axis."""
_DASHES = ("", "7 4", "2 3")
"""Dashes of the curves, each for as many corpora as there are colors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Axes:
    """The axes of the chart, which place steps and losses in the drawing."""

    losses: Sequence[float]
    """Labels of the axis of losses, ascending; the first and the last are its ends."""
    first: int
    """Step at the left end."""
    last: int
    """Step at the right end."""

    @classmethod
    def of(cls, report: LossReport) -> "_Axes":
        """Return axes that cover every point of a report."""
        losses = [point.loss for corpus in report.corpora for point in corpus.curve if point.loss is not None]
        ticks = _ticks(min(losses, default=0.0), max(losses, default=1.0))
        return cls(losses=ticks, first=report.first_step, last=max(report.last_step, report.first_step + 1))

    def x(self, step: float) -> float:
        return _LEFT + (_END - _LEFT) * (step - self.first) / (self.last - self.first)

    def y(self, loss: float) -> float:
        low, high = self.losses[0], self.losses[-1]
        return _FLOOR - (_FLOOR - _TOP) * (loss - low) / (high - low)


def loss_chart(report: LossReport) -> str:
    """Return the curves of a report as SVG: the loss of each corpus by step, with a mark at each spike."""
    axes = _Axes.of(report)
    height = _HEIGHT + _LEGEND * len(report.corpora)
    summaries = "; ".join(map(_summary, report.corpora))
    drawn = [
        f'<text x="{_LEFT}" y="22" font-size="15">{escape(f"Loss by corpus of {report.mixture}, in nats per token")}</text>',
        *_labels(axes, report),
        *(_mark(axes, spike) for spike in report.spikes),
        *(part for number, corpus in enumerate(report.corpora) for part in _curve(axes, corpus, number)),
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(f"Loss by corpus of {report.mixture}: {summaries}")}"'
        f' viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="12" fill="#1d2330">'
        f'<rect width="100%" height="100%" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _labels(axes: _Axes, report: LossReport) -> Iterator[str]:
    """Yield the lines and labels of both axes."""
    for loss in axes.losses:
        y = axes.y(loss)
        yield f'<line x1="{_LEFT}" x2="{_END}" y1="{y:.1f}" y2="{y:.1f}" stroke="#d5dae3"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:.4g}</text>'
    for step in _ticks(report.first_step, report.last_step):
        if step == int(step) and axes.first <= step <= axes.last:
            yield f'<text x="{axes.x(step):.1f}" y="{_FLOOR + 18}" text-anchor="middle">{step:,.0f}</text>'
    yield f'<text x="{_END}" y="{_FLOOR + 36}" text-anchor="end">step</text>'


def _mark(axes: _Axes, spike: LossSpike) -> str:
    x = axes.x(spike.peak)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_FLOOR}" stroke="#c2410c" stroke-dasharray="3 3">'
        f"<title>spike at step {spike.peak:,}</title></line>"
    )


def _curve(axes: _Axes, corpus: CorpusLosses, number: int) -> Iterator[str]:
    """Yield the curve of a corpus, and its line of the legend."""
    dashes = _DASHES[number // len(PALETTE) % len(_DASHES)]
    line = f'stroke="{PALETTE[number % len(PALETTE)]}" stroke-width="2" stroke-dasharray="{dashes}"'
    for part in _unbroken(corpus.curve):
        at = " ".join(f"{axes.x(point.step):.1f},{axes.y(point.loss or 0.0):.1f}" for point in part)
        at = at if len(part) > 1 else f"{at} {axes.x(part[0].step) + 2:.1f},{axes.y(part[0].loss or 0.0):.1f}"
        yield f'<polyline fill="none" {line} points="{at}"/>'
    middle = _HEIGHT + _LEGEND * number
    yield f'<line x1="{_LEFT}" x2="{_LEFT + 30}" y1="{middle}" y2="{middle}" {line}/>'
    yield f'<text x="{_LEFT + 40}" y="{middle + 4}">{escape(_summary(corpus))}</text>'


def _summary(corpus: CorpusLosses) -> str:
    first, last = ("–" if loss is None else f"{loss:.3f}" for loss in (corpus.first, corpus.last))
    return f"{corpus.corpus}: {first} in the first tenth of the steps, {last} in the last"


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
    unit = 10.0 ** math.floor(math.log10(span / (_TICKS - 1)))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit * (_TICKS - 1) >= span)
    return [step * number for number in range(math.floor(low / step), math.ceil(high / step) + 1 + (low == high))]
