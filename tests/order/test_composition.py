"""Composition of a mixture: numbers, deviation and tree."""

import numpy as np
import pytest

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Plan
from phyagi_assets.order.composition import composition, largest_deviation, plan_lines, plan_tree
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.order.plans import partition, partitions, plan_of

FOUND = {
    "prose": [partition("a", train=300, validation=9), partition("b", train=100)],
    "verse": [partition("c", train=50)],
    "code": [partition("d", train=1_000)],
}
PARTS = [MixturePart(corpus="prose", weight=1.5), MixturePart(corpus="verse", share=0.25), MixturePart(corpus="code")]


def test_composition_lists_declaration_size_and_epoch_of_each_corpus() -> None:
    plan = plan_of(FOUND, PARTS)
    found = {of.corpus: of for of in composition(plan)}
    assert {name: (of.amount, of.partitions, of.samples, of.tokens) for name, of in found.items()} == {
        "prose": ("×1.5", 2, 400, 4 * 400 + 2),
        "verse": ("25 %", 1, 50, 4 * 50 + 1),
        "code": ("×1", 1, 1_000, 4 * 1_000 + 1),
    }
    drawn = np.bincount(MixtureOrder(plan, "train").locate(np.arange(plan.current.drawn)).corpus).tolist()
    assert [of.drawn for of in found.values()] == drawn
    assert found["verse"].part == pytest.approx(0.25, abs=0.001)
    assert found["prose"].epochs == pytest.approx(1.5, abs=0.01)
    assert sum(of.part for of in found.values()) == pytest.approx(1)


def test_composition_describes_the_last_segment() -> None:
    changed = extended(plan_of(FOUND, PARTS), "second", 77, [MixturePart(corpus="code", weight=0.5)], {"code": FOUND["code"]})
    (only,) = composition(changed)
    assert (only.corpus, only.amount, only.drawn, only.part) == ("code", "×0.5", 500, 1.0)
    assert plan_lines(changed)[0] == "mix 4k tokens; 500 samples of 4 (2k tokens) in an epoch, from position 77 on"


def naive_deviation(plan: Plan) -> float:
    """Compare with the deviation computed prefix by prefix over an epoch."""
    order, segment = MixtureOrder(plan, "train"), plan.current
    corpora = order.locate(segment.start + np.arange(segment.drawn)).corpus.tolist()
    rates = {source.corpus: source.rate / sum(of.rate for of in segment.sources) for source in segment.sources}
    prefixes = range(1, segment.drawn + 1)
    return max(abs(corpora[:passed].count(corpus) - passed * rate) for passed in prefixes for corpus, rate in rates.items())


def test_largest_deviation_is_that_of_the_worst_prefix_and_at_most_2() -> None:
    many = partitions({f"c{number}": {"all": 1 + number**3} for number in range(9)})
    for plan in (plan_of(FOUND, PARTS), plan_of(many), extended(plan_of(FOUND), "second", 77, PARTS, FOUND)):
        assert largest_deviation(plan) == pytest.approx(naive_deviation(plan))
        assert largest_deviation(plan) <= 2
    assert largest_deviation(plan_of({"code": FOUND["code"]})) == 0


def test_tree_has_one_branch_per_corpus() -> None:
    assert plan_tree(plan_of(FOUND, PARTS)).splitlines() == [
        "mix 5.84k tokens; 2,134 samples of 4 (8.54k tokens) in an epoch",
        "├── prose ×1.5  1.6k training tokens in 2 partitions, 2 of them in no sample",
        "├── verse 25 %  201 training tokens in 1 partition, 1 of them in no sample",
        "└── code ×1  4k training tokens in 1 partition, 1 of them in no sample",
    ]
