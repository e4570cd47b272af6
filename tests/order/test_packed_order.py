"""The order of plans with packed corpora."""

from typing import Any

import numpy as np
import pytest

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_formats import PACKED_FORMAT
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.order.packed_plans import SEQ_LEN, documents, open_index, packed_samples
from tests.order.plans import plan_of, read, sized


def order_of(plan: Plan, split: str = "train") -> MixtureOrder:
    return MixtureOrder(plan, split, open_index)


def test_packed_partitions_continue_their_shuffle_and_new_ones_form_a_group() -> None:
    parts = [MixturePart(corpus="one")]
    old = [documents("one-a", train=[3, 4, 2, 2, 1] * 5), documents("one-b", train=[2, 4] * 6)]
    new = documents("one-c", train=[3] * 7)
    plan = plan_of({"one": old}, parts)
    grown = extended(plan, "grown", 9, parts, {"one": [*old, new]})
    (source,) = grown.current.sources
    assert [(group.partitions, group.offset, group.packed) for group in source.groups] == [((0, 1), 9, True), ((2,), 0, True)]
    whole, after = read(order_of(plan), 9, 60), read(order_of(grown), 9, 60)
    added = set(packed_samples(new))
    kept = [sample for sample in after if sample not in added]
    assert kept == whole[: len(kept)]
    assert {sample for sample in after if sample in added} == added


def test_other_splits_of_a_packed_corpus_are_read_once_and_in_order() -> None:
    found = {
        "one": [documents("one-a", train=[5, 3], validation=[2, 6, 1]), documents("one-b", train=[2], validation=[4])],
        "two": [sized("two-d", train=21, validation=5)],
    }
    plan = plan_of(found)
    a, b, d = (f"{key}@1/validation.npy" for key in ("one-a", "one-b", "two-d"))
    assert read(order_of(plan, "validation"), 0, 6) == [
        ((a, 0), (a, 1), (a, 6), (a, 7)),
        ((a, 2), (a, 3), (a, 4), (a, 5)),
        ((a, 8), ("", 0), ("", 1), ("", 2)),
        ((b, 0), (b, 1), (b, 2), (b, 3)),
        ((d, 0), (d, 1), (d, 2), (d, 3)),
        ((d, 4), ("", 0), ("", 1), ("", 2)),
    ]
    assert plan.total("validation", "samples") == 6


def test_packed_samples_are_followed_by_padding_where_labels_are_shifted() -> None:
    plan = plan_of({"one": [documents("one-a", train=[6, 3])]}, shuffle=False)
    order = order_of(plan)
    runs = order.runs(order.locate(np.arange(3)), ahead=1)
    columns = zip(runs.sample.tolist(), runs.at.tolist(), runs.shard.tolist(), runs.start.tolist(), runs.tokens.tolist(), strict=True)
    assert list(columns) == [(0, 0, 0, 0, 4), (0, 4, -1, 0, 1), (1, 0, 0, 4, 2), (1, 2, -1, 0, 3), (2, 0, 0, 6, 3), (2, 3, -1, 0, 2)]


def test_packed_plan_has_format_5_and_is_read_as_it_was_written(tmp_path: Any) -> None:
    parts = [MixturePart(corpus="one"), MixturePart(corpus="two")]
    found = {"one": [documents("one-a", train=[6, 3], validation=[2])], "two": [sized("two-a", train=30)]}
    plan = extended(plan_of(found, parts), "later", 3, parts, {**found, "one": [*found["one"], documents("one-b", train=[4])]})
    (tmp_path / "mixture.json").write_text(plan.to_json())
    assert f'"format": {PACKED_FORMAT}' in plan.to_json()
    assert read_plan(tmp_path / "mixture.json") == _with_format(plan)
    unpacked = plan_of({"two": found["two"]})
    assert '"format": 3' in unpacked.to_json()
    assert "packed" not in unpacked.to_json()


def _with_format(plan: Plan) -> Plan:
    from dataclasses import replace

    return replace(plan, format=PACKED_FORMAT)


def test_order_without_an_index_locates_packed_samples_and_refuses_to_find_their_tokens() -> None:
    order = MixtureOrder(plan_of({"one": [documents("one-a", train=[SEQ_LEN, 1])]}), "train")
    located = order.locate(np.arange(2))
    with pytest.raises(ValueError, match="open_index: is missing"):
        order.runs(located)
