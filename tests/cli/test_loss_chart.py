"""The chart of a ledger of losses."""

import re
from xml.etree import ElementTree

import pytest

from phyagi_assets.cli.charts import PALETTE
from phyagi_assets.cli.loss_chart import _ticks, loss_chart
from phyagi_assets.inspection.loss_report import CorpusLosses, LossPoint, LossReport, LossSpike

SVG = "{http://www.w3.org/2000/svg}"


def corpus(name: str, *losses: float | None) -> CorpusLosses:
    curve = tuple(LossPoint(step=10 * i, tokens=5, loss=loss) for i, loss in enumerate(losses))
    return CorpusLosses(corpus=name, tokens=100, share=0.5, loss=1.0, first=losses[0], last=losses[-1], curve=curve)


def report(*corpora: CorpusLosses, spikes: tuple[LossSpike, ...] = ()) -> LossReport:
    last = max(point.step for each in corpora for point in each.curve)
    numbers = {"first_step": 0, "last_step": last, "runs": 1, "ranks": 1, "replaced": 0, "tokens": 200, "loss": 1.0}
    return LossReport(mixture="a & b", plan="1", ledger="losses", corpora=corpora, spikes=spikes, proposal=None, **numbers)


def points(line: ElementTree.Element) -> list[tuple[float, float]]:
    found = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    return [(x, y) for x, y in found]


def test_chart_has_a_curve_per_corpus_that_breaks_where_there_is_no_loss() -> None:
    picture = ElementTree.fromstring(loss_chart(report(corpus("web", 4.0, 3.0, 2.0), corpus("code", 5.0, None, 1.0))))
    lines = picture.findall(f"{SVG}polyline")
    assert [line.attrib["stroke"] for line in lines] == [PALETTE[0], PALETTE[1], PALETTE[1]]
    (left, highest), *_, (right, lowest) = points(lines[0])
    assert left < right
    assert highest < lowest  # y grows downwards
    assert points(lines[1])[0][1] < highest
    assert points(lines[2])[0][1] > lowest
    told = "Loss by corpus of a & b: web: 4.000 in the first tenth of the steps, 2.000 in the last;"
    assert picture.attrib["aria-label"].startswith(told)


def test_chart_stays_inside_its_frame_and_needs_no_other_file() -> None:
    spike = LossSpike(first=10, last=10, peak=10, loss=9.0, expected=3.0, score=7.0, documents=())
    text = loss_chart(report(corpus("web", 4.0, 9.0, 2.0), *(corpus(f"corpus {i}", 1.0, 1.0, 1.0) for i in range(12)), spikes=(spike,)))
    picture = ElementTree.fromstring(text)
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    coordinates = [point for line in picture.iter(f"{SVG}polyline") for point in points(line)]
    assert all(0 < x < width and 0 < y < height for x, y in coordinates)
    assert {title.text for title in picture.iter(f"{SVG}title")} == {"spike at step 10"}
    assert not re.search(r"href|url\(|<script|<style", text)
    drawn = {(line.attrib["stroke"], line.attrib["stroke-dasharray"]) for line in picture.iter(f"{SVG}polyline")}
    assert len(drawn) == 13, "two corpora look the same"


def test_chart_of_a_single_step_without_a_finite_loss_is_empty() -> None:
    picture = ElementTree.fromstring(loss_chart(report(corpus("web", None))))
    assert not picture.findall(f"{SVG}polyline")


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.31, 11.07), (5.2, 10.8), (3.0, 3.0), (0, 1_234_567), (-0.2, 1e-3), (7, 8)])
def test_ticks_are_few_and_cover_the_range(low: float, high: float) -> None:
    ticks = _ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert ticks[0] <= low <= high <= ticks[-1]
    assert ticks[0] < ticks[-1]
