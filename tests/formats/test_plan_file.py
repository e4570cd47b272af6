"""A valid plan is read, and an invalid one is refused with its file and key."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.declare.mixture_schema import MixtureConfig, MixturePart
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import Plan, Window
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.order.mixture_order import MixtureOrder
from phyagi_assets.order.planning import extended
from tests.order.packed_plans import documents
from tests.order.plans import plan_of, sized

T = TypeVar("T")
FOUND = {"one": [sized("a", train=23, validation=5), sized("b", train=3)], "two": [sized("c", train=9)]}


def grown(*, crosses: bool = True) -> Plan:
    plan = plan_of(FOUND, crosses=crosses)
    more = {**FOUND, "one": [*FOUND["one"], sized("late", train=30)]}
    return extended(plan, "second", 7, [MixturePart(corpus="one"), MixturePart(corpus="two", share=0.2)], more, pad_id=3)


def written(path: Path, record: Any) -> Path:
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


@pytest.mark.parametrize("crosses", [True, False])
def test_plan_round_trips(tmp_path: Path, crosses: bool) -> None:
    plan = grown(crosses=crosses)
    path = tmp_path / "mixture.json"
    path.write_text(plan.to_json(), encoding="utf-8")
    assert read_plan(path) == plan
    assert [segment.crosses for segment in plan.segments] == [crosses, True]


def test_every_seed_that_can_be_declared_is_read(tmp_path: Path) -> None:
    largest = MixtureConfig(name="m", seed=2**63 - 1, datasets=[MixturePart(corpus="one")]).seed
    plan = replace(grown(), seed=largest)
    assert read_plan(written(tmp_path / "mixture.json", json.loads(plan.to_json()))) == plan


def test_plan_with_a_window_has_a_format_of_its_own(tmp_path: Path) -> None:
    plan = plan_of({"one": [sized("a", train=200)]}, shuffle=Window(window=160))
    record = json.loads(plan.to_json())
    assert (record["format"], record["shuffle"]) == (6, {"window": 160})
    assert read_plan(written(tmp_path / "mixture.json", record)) == replace(plan, format=6)
    record["segments"][0]["sources"][0]["groups"][0]["block"] = 49
    with pytest.raises(StoreError, match=r"groups\[0\]\.block: is 49, but the group has 49 samples; a block has fewer"):
        read_plan(written(tmp_path / "mixture.json", record))
    record["shuffle"] = True
    with pytest.raises(StoreError, match="block: is not a key of a plan"):
        read_plan(written(tmp_path / "mixture.json", record))


def placed(record: Any, keys: tuple[str | int, ...]) -> Any:
    for key in keys:
        record = record[key]
    return record


GROUP = ("segments", 1, "sources", 0, "groups", 1)
CASES: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("seq_len",), "512", 'seq_len: "512" is not a whole number from 1'),
    (("seq_len",), 0, "seq_len: 0 is not a whole number from 1"),
    (("seq_len",), 4.0, "seq_len: 4.0 is not a whole number"),
    (("seed",), True, "seed: true is not a whole number"),
    (("dtype",), "float32", 'dtype: "float32" is not an integer dtype such as uint16'),
    (("concat",), "mixed", 'concat: "mixed" is not "interleaved" or "sequential"'),
    (("shuffle",), "yes", 'shuffle: "yes" is not true or false'),
    (("pad_id",), 70_000, "pad_id: 70000 is not a token id of dtype uint16, a whole number from 0 to 65535"),
    (("corpora",), {}, "corpora: {} is not a list"),
    (("corpora", 0, "partitions", 0, "shards", "train", "tokens"), -1, "corpora[0].partitions[0].shards.train.tokens: -1 is not"),
    (("corpora", 0, "partitions", 0, "shards", "train", "tokens"), 10**30, "shards.train.tokens: 1000000000000000000000000000000 is not"),
    (("corpora", 0, "partitions", 0, "shards", "train", "tokens"), 99, "segments[0].sources[0].groups[0].samples: is 6, but the tokens"),
    (("corpora", 0, "partitions", 1), "b", 'corpora[0].partitions[1]: "b" is not an object'),
    (("corpora", 0, "partitions", 0, "shards", "train", "trained"), None, "shards.train.trained: null is not a whole number from 0"),
    (("segments",), [], "segments: begin at []; the first segment begins at 0"),
    (("segments", 1, "start"), 0, "segments: begin at [0, 0]"),
    (("segments", 1, "crosses"), None, "segments[1].crosses: null is not true or false"),
    (("segments", 0, "sources", 0, "corpus"), 2, "segments[0].sources[0].corpus: is 2, but the plan has 2 corpora"),
    (("segments", 0, "sources", 0, "weight"), None, "segments[0].sources[0]: has both a weight and a share, or neither"),
    (("segments", 0, "sources", 0, "weight"), float("nan"), "segments[0].sources[0].weight: NaN is not a number, 0 or more"),
    ((*GROUP, "partitions"), [0, 9], "segments[1].sources[0].groups[1].partitions: name a partition that 'one' does not have"),
    ((*GROUP, "samples"), 1, "segments[1].sources[0].groups[1].samples: is 1, but the tokens of the group make"),
    ((*GROUP, "cuts", 0, "stop"), 24, "segments[1].sources[0].groups[1].cuts[0]: "),
]


@pytest.mark.parametrize(("keys", "value", "refusal"), CASES, ids=lambda case: str(case)[:40])
def test_invalid_value_is_refused_with_its_file_and_key(tmp_path: Path, keys: tuple[str | int, ...], value: Any, refusal: str) -> None:
    record = json.loads(grown().to_json())
    record["format"] = 4
    placed(record, keys[:-1])[keys[-1]] = value
    path = written(tmp_path / "mixture.json", record)
    with pytest.raises(StoreError, match=re.escape(f"{path}: ") + ".*" + re.escape(refusal)):
        read_plan(path)


def test_missing_or_unknown_key_is_named(tmp_path: Path) -> None:
    record = json.loads(grown().to_json())
    del record["segments"][0]["sources"][1]["groups"]
    with pytest.raises(StoreError, match=r"segments\[0\]\.sources\[1\]\.groups: is missing"):
        read_plan(written(tmp_path / "mixture.json", record))
    record = json.loads(grown().to_json())
    record["corpora"][1]["parts"] = 1
    with pytest.raises(StoreError, match=r"corpora\[1\]\.parts: is not a key of a plan"):
        read_plan(written(tmp_path / "mixture.json", record))


def packed_plan() -> Plan:
    found = {"one": [documents("a", train=[9, 2, 4], validation=[5]), documents("b", train=[3])], "two": FOUND["two"]}
    return extended(plan_of(found), "second", 4, [MixturePart(corpus="one"), MixturePart(corpus="two", share=0.2)], found, pad_id=3)


PACKED_GROUP = ("segments", 0, "sources", 0, "groups", 0)
INDEX = ("corpora", 0, "partitions", 0, "index")
PACKED_CASES: list[tuple[tuple[str | int, ...], Any, str]] = [
    ((*INDEX, "samples", "train"), 3, "index.samples.train: is 3, which 15 tokens cannot make"),
    ((*INDEX, "samples", "train"), 5, "groups[0].samples: is 5, but the tokens of the group make 6"),
    ((*INDEX, "samples", "test"), 1, "index.samples.test: is 1, which 0 tokens cannot make"),
    ((*INDEX, "path"), None, "index.path: null is not text"),
    ((*INDEX, "merged"), 1, "index.merged: 1 is not true or false"),
    (INDEX, None, "index: null is not an object"),
    ((*PACKED_GROUP, "crosses"), True, "groups[0].crosses: is true, but packed samples do not cross partitions"),
    ((*PACKED_GROUP, "packed"), "yes", 'groups[0].packed: "yes" is not true or false'),
    (("segments", 0, "sources", 1, "groups", 0, "packed"), True, "groups[0].crosses: is true"),
]


@pytest.mark.parametrize(("keys", "value", "refusal"), PACKED_CASES, ids=lambda case: str(case)[:40])
def test_invalid_value_of_a_packed_plan_is_refused_with_its_file_and_key(
    tmp_path: Path, keys: tuple[str | int, ...], value: Any, refusal: str
) -> None:
    record = json.loads(packed_plan().to_json())
    placed(record, keys[:-1])[keys[-1]] = value
    path = written(tmp_path / "mixture.json", record)
    with pytest.raises(StoreError, match=re.escape(f"{path}: ") + ".*" + re.escape(refusal)):
        read_plan(path)


def test_packing_is_not_read_from_a_plan_of_an_earlier_format(tmp_path: Path) -> None:
    record = json.loads(packed_plan().to_json())
    record["format"] = 4
    with pytest.raises(StoreError, match=r"partitions\[0\]\.index: is not a key of a plan"):
        read_plan(written(tmp_path / "mixture.json", record))


JUNK = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({}) | st.just([1])


def paths(record: Any, above: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every key of a JSON value."""
    entries = record.items() if isinstance(record, Mapping) else enumerate(record) if isinstance(record, list) else ()
    return [found for key, value in entries for found in ((*above, key), *paths(value, (*above, key)))]


RECORDS = [json.loads(plan.to_json()) for plan in (grown(), packed_plan())]
CHANGES = [(number, keys) for number, record in enumerate(RECORDS) for keys in paths(record)]


@given(change=st.sampled_from(CHANGES), junk=JUNK)
def test_plan_with_any_replaced_value_is_refused_or_opens(
    tmp_path_factory: pytest.TempPathFactory, change: tuple[int, tuple[str | int, ...]], junk: Any
) -> None:
    number, keys = change
    record = json.loads(json.dumps(RECORDS[number]))
    placed(record, keys[:-1])[keys[-1]] = junk
    path = written(tmp_path_factory.getbasetemp() / "changed.json", record)
    refusal, plan = attempted(lambda: read_plan(path))
    if plan is None:
        assert isinstance(refusal, StoreError)
        assert str(refusal).startswith(f"{path}: ")
        return
    refusal, order = attempted(lambda: MixtureOrder(plan, "train"))
    assert order is not None or "rates: their sum is" in str(refusal)


def attempted(call: Callable[[], T]) -> tuple[Exception | None, T | None]:
    """The error of a call, or its result."""
    try:
        return None, call()
    except (StoreError, ValueError) as problem:
        return problem, None
