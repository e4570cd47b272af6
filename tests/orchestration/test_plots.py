"""Plots are valid SVG."""

import base64
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.formatting import short
from phyagi_assets.orchestration.plots import bar_chart, bar_chart_svg

labels = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=12)


@given(title=labels, bars=st.lists(st.tuples(labels, st.integers(0, 10**12)), max_size=6))
def test_chart_is_well_formed_with_proportional_bars_and_labels(title: str, bars: list[tuple[str, float]]) -> None:
    chart = ElementTree.fromstring(bar_chart_svg(title, bars))
    _background, *rects = chart.iter("{http://www.w3.org/2000/svg}rect")
    drawn = [float(rect.get("height", "nan")) for rect in rects]
    assert len(drawn) == len(bars)
    tallest = max((height for _, height in bars), default=0) or 1
    assert drawn == pytest.approx([120 * height / tallest for _, height in bars], abs=0.05)
    written = [element.text or "" for element in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert written == [title, *(text for label, height in bars for text in (short(height), label))]


def test_chart_is_embedded_in_markdown() -> None:
    encoded = bar_chart("a < b", [("x", 1)]).partition("base64,")[2].rstrip(")")
    assert base64.b64decode(encoded).decode() == bar_chart_svg("a < b", [("x", 1)])
