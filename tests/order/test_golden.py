"""The order of plans of formats 3 and 5, position by position: it never changes, because training runs resume in it."""

from itertools import groupby
from typing import Any

import pytest

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import FORMAT, Plan, Window
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.order.packed_plans import documents, open_index
from tests.order.plans import Sample, plan_of, read, sized

FOUND = {
    "one": [sized("a", train=10, validation=6), sized("b", train=3), sized("c", train=13, validation=3)],
    "two": [sized("d", train=7, validation=2), sized("e", train=11)],
}
WEIGHTS = [MixturePart(corpus="one", weight=1.5), MixturePart(corpus="two")]
SHARES = [MixturePart(corpus="one", share=0.75), MixturePart(corpus="two", share=0.25)]


def written(sample: Sample) -> str:
    """Return the runs of a sample as text: partition, first token, and the token after the last one."""
    ranges = [[token for _, token in of] for of in (list(of) for _, of in groupby(sample, key=lambda token: token[0]))]
    names = [path.partition("@")[0] or "padding" for path, _ in groupby(sample, key=lambda token: token[0])]
    assert all(tokens == list(range(tokens[0], tokens[-1] + 1)) for tokens in ranges)
    return " ".join(f"{name}:{tokens[0]}-{tokens[-1] + 1}" for name, tokens in zip(names, ranges, strict=True))


def first(**keys: Any) -> Plan:
    return plan_of(FOUND, keys.pop("parts", WEIGHTS), **keys)


def with_later_segment() -> Plan:
    """A plan whose second segment begins at position 5 with one more partition."""
    return extended(first(), "later", 5, WEIGHTS, {**FOUND, "one": [*FOUND["one"], sized("f", train=9)]})


@pytest.mark.parametrize(
    ("plan", "split", "expected"),
    [
        (
            first(),
            "train",
            "c:3-7, d:0-4, c:7-11, a:0-4, e:1-5, a:4-8, a:8-10 b:0-2, b:2-3 c:0-3, d:4-7 e:0-1, a:8-10 b:0-2, a:4-8, e:5-9, c:3-7, "
            "b:2-3 c:0-3",
        ),
        (
            with_later_segment(),
            "train",
            "c:3-7, d:0-4, c:7-11, a:0-4, e:1-5, a:4-8, a:8-10 b:0-2, d:4-7 e:0-1, c:11-13 f:0-2, b:2-3 c:0-3, a:8-10 b:0-2, e:5-9, "
            "a:4-8, f:2-6, c:3-7, d:4-7 e:0-1, b:2-3 c:0-3, c:7-11",
        ),
        (
            first(parts=SHARES, concat="sequential", shuffle=False, seq_len=5),
            "train",
            "a:0-5, a:5-10, b:0-3 c:0-2, c:2-7, c:7-12, a:0-5, d:0-5, d:5-7 e:0-3, a:5-10, b:0-3 c:0-2, c:2-7, c:7-12, a:0-5, a:5-10",
        ),
        (first(), "validation", "a:0-4, a:4-6 c:0-2, c:2-3 padding:0-3, d:0-2 padding:0-2"),
    ],
    ids=["interleaved", "with a later segment", "sequential by shares, unshuffled", "validation"],
)
def test_plan_of_format_3_keeps_its_order(plan: Plan, split: str, expected: str) -> None:
    assert plan.format == FORMAT == 3
    samples = expected.split(", ")
    assert [written(sample) for sample in read(MixtureOrder(plan, split), 0, len(samples))] == samples


def test_plan_with_a_window_keeps_its_order() -> None:
    plan = plan_of({"one": [sized("a", train=30), sized("b", train=23)]}, shuffle=Window(window=72))
    assert [group.block for group in plan.current.sources[0].groups] == [3]
    assert ", ".join(written(sample) for sample in read(MixtureOrder(plan, "train"), 0, 18)) == (
        "b:18-22, b:6-10, a:0-4, b:10-14, b:14-18, a:12-16, a:8-12, a:20-24, a:4-8, a:28-30 b:0-2, b:2-6, a:16-20, a:24-28, a:24-28, "
        "a:28-30 b:0-2, a:16-20, a:12-16, b:18-22"
    )


def packed_plan() -> Plan:
    """A plan of a packed corpus and another, whose second segment begins at position 6 with one more packed partition."""
    found = {
        "one": [documents("a", train=[3, 9, 1, 2, 2], validation=[2, 5, 1]), documents("b", train=[4, 1, 1, 3])],
        "two": [sized("d", train=11, validation=3)],
    }
    return extended(plan_of(found, WEIGHTS), "later", 6, WEIGHTS, {**found, "one": [*found["one"], documents("c", train=[6, 2, 1])]})


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        (
            "train",
            "a13 a14 a15 a16, b0 b1 b2 b3, a0 a1 a2 a11, d0 d1 d2 d3, b5 -0 -1 -2, a7 a8 a9 a10, a12 -0 -1 -2, "
            "c0 c1 c2 c3, b4 b6 b7 b8, a3 a4 a5 a6, d4 d5 d6 d7, a7 a8 a9 a10, c4 c5 c6 c7, a3 a4 a5 a6, b5 -0 -1 -2, "
            "a12 -0 -1 -2, c8 -0 -1 -2, b0 b1 b2 b3",
        ),
        (
            "validation",
            "a0 a1 a6 a7, a2 a3 a4 a5, d0 d1 d2 -0, a0 a1 a6 a7",
        ),
    ],
)
def test_plan_of_format_5_keeps_its_order(split: str, expected: str) -> None:
    found = read(MixtureOrder(packed_plan(), split, open_index), 0, len(expected.split(", ")))
    assert ", ".join(" ".join(f"{path.partition('@')[0] or '-'}{token}" for path, token in sample) for sample in found) == expected
