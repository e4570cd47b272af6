"""Law 2: every prefix matches the weights within 2 samples, and every corpus gets its share."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.order.permutation import Ints
from phyagi_assets.order.schedule import Interleaved, InTurn

LARGEST = 2**52


def skewed(sources: int) -> list[int]:
    """Return rates over five orders of magnitude; with many sources, some are below 1/10,000 of the sum."""
    return [int(rate) + 1 for rate in 10 ** np.random.default_rng(sources).uniform(2, 7, sources)]


def halved(sources: int) -> list[int]:
    """Return rates that halve from source to source, which gives the deepest possible tree."""
    return [2 ** (sources - source) for source in range(sources)]


def deviation(order: Ints, rates: Sequence[int]) -> float:
    """Return the largest deviation of any prefix of an order from the exact share of a source, in draws."""
    parts = np.array(rates) / sum(rates)
    by_source = np.argsort(order, kind="stable")
    source, passed = order[by_source], by_source.astype(np.float64)
    before = np.arange(len(order)) - np.searchsorted(source, source)  # draws from the same source
    part = parts[source]
    given = np.bincount(order, minlength=len(rates))
    # A deviation is largest where a draw comes or has just come, or at the end.
    extremes = (before - passed * part, before + 1 - (passed + 1) * part, given - len(order) * parts)
    return max(float(np.abs(extreme).max()) for extreme in extremes)


@pytest.mark.parametrize("rates", [*map(skewed, (2, 8, 32, 128, 1_000)), halved(50), [1] * 1_000, [10**6, *[1] * 999]], ids=len)
def test_every_prefix_of_200_000_matches_the_rates_within_2(rates: list[int]) -> None:
    schedule = Interleaved(rates)
    source, drawn = schedule.locate(np.arange(200_000))
    assert deviation(source, rates) <= 2
    count = np.zeros(len(rates), dtype=np.int64)
    for start in range(0, 200_000, 50_000):
        assert schedule.draws_before(start).tolist() == count.tolist()
        count += np.bincount(source[start : start + 50_000], minlength=len(rates))
    for number in range(len(rates)):
        assert (drawn[source == number] == np.arange(count[number])).all()


@pytest.mark.parametrize("rates", [skewed(1_000), [10**6, *[1] * 999]])
def test_sources_below_one_in_10000_get_their_share(rates: list[int]) -> None:
    total = sum(rates)
    assert min(rates) / total < 1e-4
    assert (Interleaved(rates).draws_before(2 * total // min(rates) + 1) > 0).all()
    assert Interleaved(rates).draws_before(total).tolist() == rates


ADVERSARIAL = st.lists(st.integers(0, 3) | st.integers(0, 10**6) | st.integers(0, LARGEST // 64), min_size=1, max_size=64).filter(any)
POSITIONS = st.integers(0, 10**4) | st.integers(0, 2**62 - 1000)


@given(rates=ADVERSARIAL, start=POSITIONS)
def test_any_rates_are_matched_within_2_from_any_position(rates: list[int], start: int) -> None:
    schedule, total = Interleaved(rates), sum(rates)
    source, drawn = schedule.locate(start + np.arange(300))
    counts = schedule.draws_before(start).tolist()
    for number, (chosen, before) in enumerate(zip(source.tolist(), drawn.tolist(), strict=True)):
        assert before == counts[chosen]
        counts[chosen] += 1
        passed = start + number + 1
        assert all(abs(count * total - passed * rate) <= 2 * total for count, rate in zip(counts, rates, strict=True))
    assert schedule.draws_before(start + 300).tolist() == counts


@given(rates=st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any), rounds=st.integers(0, 2**40))
def test_round_draws_from_each_source_exactly_its_rate(rates: list[int], rounds: int) -> None:
    total = sum(rates)
    for schedule in (Interleaved(rates), InTurn(rates)):
        source, _ = schedule.locate(rounds * total + np.arange(total))
        assert np.bincount(source, minlength=len(rates)).tolist() == rates
        assert schedule.draws_before(rounds * total).tolist() == [rounds * rate for rate in rates]


@given(data=st.data(), count=st.integers(1, 40))
def test_largest_sum_of_rates_is_exact(data: st.DataObject, count: int) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, LARGEST), min_size=count, max_size=count)))
    rates = np.diff([0, *cuts, LARGEST]).tolist()
    assert sum(rates) == LARGEST
    schedule = Interleaved(rates)
    position = data.draw(st.lists(st.integers(0, 2**62 - 1), min_size=1, max_size=20))
    source, drawn = schedule.locate(np.array(position))
    for at, chosen, before in zip(position, source.tolist(), drawn.tolist(), strict=True):
        now, then = schedule.draws_before(at), schedule.draws_before(at + 1)
        assert (int(now[chosen]), int(then[chosen])) == (before, before + 1)
        assert int(then.sum()) == at + 1
    assert schedule.draws_before(LARGEST).tolist() == rates


@given(rates=st.lists(st.integers(0, 9), min_size=1, max_size=12).filter(any), start=st.integers(0, 500))
def test_in_turn_reads_each_source_by_its_rate_before_the_next(rates: list[int], start: int) -> None:
    schedule = InTurn(rates)
    once = [source for source, rate in enumerate(rates) for _ in range(rate)]
    expected = once * (-(-(start + 50) // len(once)))
    source, drawn = schedule.locate(start + np.arange(50))
    assert source.tolist() == expected[start : start + 50]
    assert drawn.tolist() == [expected[:at].count(expected[at]) for at in range(start, start + 50)]
    assert schedule.draws_before(start).tolist() == [expected[:start].count(number) for number in range(len(rates))]


@pytest.mark.parametrize("schedule", [Interleaved, InTurn])
def test_empty_array_of_positions_is_located(schedule: type[Interleaved | InTurn]) -> None:
    source, drawn = schedule([2, 1]).locate(np.zeros(0, dtype=np.int64))
    assert (source.tolist(), drawn.tolist()) == ([], [])


@pytest.mark.parametrize(
    ("schedule", "rates", "refusal"),
    [
        (Interleaved, [0, 0], "rates: their sum is 0; use a sum from 1 to"),
        (Interleaved, [LARGEST, 1], rf"rates: their sum is {LARGEST + 1}; use a sum .* 2\*\*52"),
        (Interleaved, [], "rates: their sum is 0"),
        (InTurn, [0], "rates: their sum is 0"),
    ],
)
def test_invalid_rates_raise(schedule: type[Interleaved | InTurn], rates: list[int], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        schedule(rates)
