"""Plots are valid SVG, short enough for the UI to show them at once."""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.formatting import short
from phyagi_assets.orchestration.plots import SHOWN_AT_ONCE, WIDTH, bar_chart, bar_chart_svg

labels = st.text(st.characters(blacklist_categories=("Cs", "Cc"), blacklist_characters="\ufffe\uffff"), max_size=12)


@given(title=labels, bars=st.lists(st.tuples(labels, st.integers(0, 10**12)), max_size=6))
def test_chart_is_well_formed_with_proportional_bars_and_labels(title: str, bars: list[tuple[str, float]]) -> None:
    chart = ElementTree.fromstring(bar_chart_svg(title, bars))
    path = chart.find("{http://www.w3.org/2000/svg}path")
    assert path is not None
    drawn = [float(tall) for tall in re.findall(r"v-(\d+)", path.get("d", ""))]
    tallest = max((height for _, height in bars), default=0) or 1
    assert drawn == pytest.approx([80 * height / tallest for _, height in bars], abs=0.5)
    written = [element.text or "" for element in chart.iter("{http://www.w3.org/2000/svg}text")]
    assert written[0] == title
    assert written[1::2] == [short(height) for _, height in bars]
    for (label, _), shown in zip(bars, written[2::2], strict=True):
        assert shown == label or label.startswith(shown.removesuffix("…")) or shown.removeprefix("…").removesuffix("…") in label


def test_labels_that_do_not_fit_lose_their_common_prefix() -> None:
    chart = bar_chart_svg("tokens", [(f"2026-11-{day:02}", day) for day in range(10, 22)])
    assert re.findall(r">(…[^<]*)<", chart) == [f"…{day}" for day in range(10, 22)]


def test_chart_is_embedded_in_markdown() -> None:
    encoded = re.fullmatch(r"!\[a < b\]\(<data:image/svg\+xml,([^<>#&\\]*)>\)", bar_chart("a < b", [("x & 50 %", 1)]))
    assert encoded
    assert unquote(encoded[1]) == bar_chart_svg("a < b", [("x & 50 %", 1)])


@pytest.mark.parametrize("count", [1, 12, 20, 40])
def test_chart_of_many_bars_leaves_labels_out_until_it_is_shown_at_once(count: int) -> None:
    chart = bar_chart("documents by their number of tokens", [(f"≥{1 << i}", 1000 + i) for i in range(count)])
    assert len(chart) < SHOWN_AT_ONCE
    assert "≥1%3C/text" in chart
    assert int(re.findall(r"width='(\d+)'", chart)[0]) <= 1.4 * WIDTH
