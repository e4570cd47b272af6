"""Read and check ``mixture.json``.

The file decides what training reads, so nothing in it is trusted: the type and the range of every value are checked, and counts that
follow from other counts must agree with them. An error names the file and the key.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args, get_type_hints

import xxhash

from phyagi_assets.errors import StoreAccessError, StoreError
from phyagi_assets.formats.plan import (
    PLAN,
    Concat,
    Group,
    Plan,
    PlannedCorpus,
    PlannedPartition,
    Segment,
    Shard,
    Source,
    Window,
)
from phyagi_assets.formats.plan_formats import FORMAT, OLDEST_FORMAT, PIECES_FORMAT, SINCE, WINDOWED_FORMAT
from phyagi_assets.store.addresses import root_around
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.disk import is_unreachable
from phyagi_assets.store.manifest import MANIFEST, Manifest

_NEWEST_FORMAT = PIECES_FORMAT
_MOST = 1 << 62
"""Largest count; sums of counts and positions have to fit in 64 bits."""
_DTYPE = re.compile(r"(u?)int(8|16|32|64)")

Key = tuple[str | int, ...]
"""Keys and indices that lead to a value in the file."""


class _Refused(Exception):
    """A value that is not allowed in a plan."""

    def __init__(self, key: Key, found: str) -> None:
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")
        super().__init__(f"{where}: {found}" if where else found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Kind:
    """A kind of value."""

    described: str
    """Noun phrase for error messages."""
    fits: Callable[[Any], bool]
    """Function that returns whether a value is of this kind."""


def _integer(least: int = 0, most: int = _MOST) -> _Kind:
    return _Kind(described=f"a whole number from {least} to {most}", fits=lambda value: type(value) is int and least <= value <= most)


def _is_amount(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and math.isfinite(value) and value >= 0)


_COUNT = _integer()
_KINDS: Mapping[Any, _Kind] = {
    int: _COUNT,
    str: _Kind(described="text", fits=lambda value: type(value) is str),
    bool: _Kind(described="true or false", fits=lambda value: type(value) is bool),
    int | None: _Kind(described="a token id or null", fits=lambda value: value is None or _COUNT.fits(value)),
    float | None: _Kind(described="a number, 0 or more, or null", fits=_is_amount),
    Concat: _Kind(described='"interleaved" or "sequential"', fits=lambda value: value in get_args(Concat)),
}
"""Kinds of the values of fields that are neither objects nor lists, by type of the field."""
_DRAWS = _Kind(described="a whole number, 0 or more", fits=lambda value: type(value) is int and value >= 0)
"""Count without an upper limit: a plan that draws too many samples is refused when its order is opened, but can be read to clean it up."""
_NARROWER: Mapping[tuple[type, str], _Kind] = {
    (Plan, "seq_len"): _integer(1, 1 << 31),
    (Plan, "seed"): _integer(0, (1 << 63) - 1),
    (Plan, "dtype"): _Kind(
        described="an integer dtype such as uint16", fits=lambda value: type(value) is str and bool(_DTYPE.fullmatch(value))
    ),
    (Shard, "trained"): _COUNT,
    (Source, "rate"): _DRAWS,
    (Source, "drawn"): _DRAWS,
    (Group, "key"): _integer(0, (1 << 64) - 1),
    (Group, "block"): _integer(1),
    (Window, "window"): _integer(1),
}
"""Kinds of the values of fields for which `_KINDS` allows too much."""


def read_plan(path: Path) -> Plan:
    """Read a plan and check it.

    Raises
    ------
    StoreError
        The file does not exist, is not a plan, was changed after it was written, was written by a newer release, or is inconsistent.
    """
    try:
        content = path.read_bytes()
        _verify(path, content)
        text = content.decode("utf-8")
    except OSError as problem:
        if is_unreachable(problem):
            raise StoreAccessError.of(path, problem) from None
        raise StoreError(f"{path}: cannot be read: {problem.strerror}") from None
    except ValueError as problem:
        raise StoreError(f"{path}: is not a plan of a mixture: {problem}") from None
    return _parsed(text, path)


def plan_of(artifact: Artifact) -> Plan:
    """Read the plan of an artifact; see `read_plan`."""
    return read_plan(artifact.folder() / PLAN)


def _verify(path: Path, content: bytes) -> None:
    """Compare a plan with the manifest beside it: a single changed digit would change the order of training under the same fingerprint.

    A plan that was copied out of its store without its manifest is accepted.
    """
    remedy = "phyagi-assets check --discard removes it, and materialize makes it again"
    manifest = path.with_name(MANIFEST)
    if not manifest.is_file():
        if root_around(path.parent):
            raise StoreError(f"{manifest}: is missing, so {path.name} cannot be verified; {remedy}")
        return
    try:
        written = Manifest.read(path.parent).files[path.name]
    except KeyError:
        raise StoreError(f"{manifest}: is not the manifest of a plan; {remedy}") from None
    except StoreAccessError:
        raise
    except StoreError as problem:
        raise StoreError(f"{problem}; {remedy}") from None
    if len(content) != written.bytes or xxhash.xxh3_128_hexdigest(content) != written.xxh3_128:
        raise StoreError(f"{path}: was changed after it was written (checksum differs), which can change the order; {remedy}")


def _parsed(text: str, path: Path) -> Plan:
    """Return the plan that the content of its file describes."""
    try:
        record = json.loads(text)
        format_ = record.get("format") if isinstance(record, dict) else None
        if type(format_) is int and format_ > _NEWEST_FORMAT:
            raise StoreError(
                f"{path}: is a plan of format {format_}, and this release of phyagi-assets reads formats {OLDEST_FORMAT} to "
                f"{_NEWEST_FORMAT}; install the release that wrote it, or a newer one"
            )
        if type(format_) is not int or format_ < OLDEST_FORMAT:
            raise _Refused((), f"has format {format_!r}; this release reads formats {OLDEST_FORMAT} to {_NEWEST_FORMAT}")
        plan: Plan = _object(Plan, record, (), format_)
        for key, found in _contradictions(plan):
            raise _Refused(key, found)
        return plan
    except (ValueError, RecursionError) as problem:
        raise StoreError(f"{path}: is not a plan of a mixture: {problem or type(problem).__name__}") from None
    except _Refused as problem:
        raise StoreError(f"{path}: {problem}") from None


@cache
def _fields(class_: type, format_: int) -> Mapping[str, tuple[_Kind | None, Any]]:
    """Return the fields of a dataclass that a format has: for each, the kind of its value (None for an object or a list) and its type."""
    types = {name: type_ for name, type_ in get_type_hints(class_).items() if SINCE.get(name, OLDEST_FORMAT) <= format_}
    return {name: (_NARROWER.get((class_, name)) or _KINDS.get(type_), type_) for name, type_ in types.items()}


def _object(class_: type, record: Any, key: Key, format_: int) -> Any:
    """Return an object of the file as a dataclass, after checking that it has exactly the keys of the format."""
    if type(record) is not dict:
        raise _Refused(key, f"{_shown(record)} is not an object")
    fields = _fields(class_, format_)
    if format_ == OLDEST_FORMAT and class_ is Shard:  # the oldest format counts samples, too
        record = {name: value for name, value in record.items() if name != "samples"}
    if record.keys() != fields.keys():
        for name in fields.keys() - record.keys():
            if SINCE.get(name, OLDEST_FORMAT) <= FORMAT:
                raise _Refused((*key, name), "is missing")
        for name in record.keys() - fields.keys():
            raise _Refused((*key, name), "is not a key of a plan")
    found = {"crosses": False} if format_ == OLDEST_FORMAT and class_ in (Segment, Group) else {}
    for name, value in record.items():
        kind, type_ = fields[name]
        if kind is None:
            found[name] = _value(type_, value, (*key, name), format_)
        elif kind.fits(value):  # without a tuple for the key: a plan can have a hundred thousand values
            found[name] = value
        else:
            raise _Refused((*key, name), f"{_shown(value)} is not {kind.described}")
    return class_(**found)


def _value(type_: Any, value: Any, key: Key, format_: int) -> Any:
    """Return a value of the file as a value of the type of a field, or of its items."""
    if isinstance(type_, type):
        kind = _KINDS.get(type_)
        if kind is None:
            return _object(type_, value, key, format_)
        if not kind.fits(value):
            raise _Refused(key, f"{_shown(value)} is not {kind.described}")
        return value
    item, *others = _arguments(type_)
    if others == [...]:  # a tuple
        if type(value) is not list:
            raise _Refused(key, f"{_shown(value)} is not a list")
        return tuple([_value(item, each, (*key, i), format_) for i, each in enumerate(value)])
    if item is str:  # a mapping
        if type(value) is not dict:
            raise _Refused(key, f"{_shown(value)} is not an object")
        return {name: _value(others[0], each, (*key, name), format_) for name, each in value.items()}
    if type_ == bool | Window and type(value) is dict and format_ >= WINDOWED_FORMAT:
        return _object(Window, value, key, format_)
    return _value(item, value, key, format_)  # an optional object, or a flag


_arguments = cache(get_args)


def _contradictions(plan: Plan) -> Iterator[tuple[Key, str]]:
    """Yield the keys of values that contradict others, and the problems. The first problem can be the cause of the others."""
    if plan.pad_id is not None:
        unsigned, bits = _DTYPE.fullmatch(plan.dtype).groups()  # type: ignore[union-attr]
        most = (1 << (int(bits) - (not unsigned))) - 1
        if plan.pad_id > most:
            yield ("pad_id",), f"{plan.pad_id} is not a token id of dtype {plan.dtype}, a whole number from 0 to {most}"
    for i, corpus in enumerate(plan.corpora):
        yield from _in_corpus(corpus, ("corpora", i), plan.seq_len)
    for i, number in enumerate(plan.evaluation):
        if number >= len(plan.corpora):
            yield ("evaluation", i), f"is {number}, but the plan has {len(plan.corpora)} corpora, counted from 0"
    for i, segment in enumerate(plan.segments):
        for number, source in enumerate(segment.sources):
            yield from _in_source(source, ("segments", i, "sources", number), plan)
        for name in ("rate", "drawn"):
            if not any(getattr(source, name) for source in segment.sources):
                yield ("segments", i, "sources"), f"have a total {name} of 0; no sample would be read"
    starts = [segment.start for segment in plan.segments]
    if not starts or starts[0] != 0 or any(after <= before for before, after in pairwise(starts)):
        yield ("segments",), f"begin at {starts}; the first segment begins at 0, and each one after the one before it"


def _in_corpus(corpus: PlannedCorpus, key: Key, seq_len: int) -> Iterator[tuple[Key, str]]:
    for i, partition in enumerate(corpus.partitions):
        yield from _in_partition(partition, (*key, "partitions", i), seq_len)
    tokens = Counter[str]()
    for partition in corpus.partitions:
        tokens.update({split: shard.tokens for split, shard in partition.shards.items()})
    yield from ((key, f"has {count} tokens in split {split!r}; the most is {_MOST}") for split, count in tokens.items() if count > _MOST)


def _in_partition(partition: PlannedPartition, key: Key, seq_len: int) -> Iterator[tuple[Key, str]]:
    for split, shard in partition.shards.items():
        pieces, tokens = shard.pieces, sum(piece.tokens for piece in shard.pieces)
        if pieces and tokens != shard.tokens:
            yield (*key, "shards", split, "pieces"), f"have {tokens} tokens, but the array has {shard.tokens}"
        if any(after.number <= before.number for before, after in pairwise(pieces)):
            yield (*key, "shards", split, "pieces"), "are not in the order of their numbers"
        if shard.trained is not None and shard.trained > shard.tokens:
            yield (*key, "shards", split, "trained"), f"is {shard.trained}, but the array has {shard.tokens} tokens"
    for split, samples in partition.index.samples.items() if partition.index else ():
        tokens = partition.shards[split].tokens if split in partition.shards else 0
        if not -(-tokens // seq_len) <= samples <= tokens:
            yield (*key, "index", "samples", split), f"is {samples}, which {tokens} tokens cannot make"


def _in_source(source: Source, key: Key, plan: Plan) -> Iterator[tuple[Key, str]]:
    if source.corpus >= len(plan.corpora):
        yield (*key, "corpus"), f"is {source.corpus}, but the plan has {len(plan.corpora)} corpora, counted from 0"
    for i, group in enumerate(source.groups):
        yield from _in_group(group, plan.corpora[source.corpus], (*key, "groups", i), plan)
    if (source.weight is None) == (source.share is None):
        yield key, "has both a weight and a share, or neither; a source has one of the two"
    if not source.samples:
        yield (*key, "groups"), "have no sample"
    if source.packed and not all(group.packed for group in source.groups):
        yield (*key, "groups"), "are packed in part; all groups of a source are packed, or none"


def _in_group(group: Group, corpus: PlannedCorpus, key: Key, plan: Plan) -> Iterator[tuple[Key, str]]:
    partitions = group.partitions
    if any(number >= len(corpus.partitions) for number in partitions):
        yield (*key, "partitions"), f"name a partition that {corpus.name!r} does not have; it has {len(corpus.partitions)}"
    for i, cut in enumerate(group.cuts):
        shard = corpus.partitions[partitions[cut.place]].shards.get("train") if cut.place < len(partitions) else None
        if not group.crosses or shard is None or not cut.start < cut.stop <= shard.tokens:
            yield (*key, "cuts", i), f"{_shown(asdict(cut))} is not a part of a partition of the group"
    if group.packed and group.crosses:
        yield (*key, "crosses"), "is true, but packed samples do not cross partitions"
    if group.packed and (bare := [i for i in partitions if corpus.partitions[i].index is None]):
        yield (*key, "partitions"), f"are packed, but partition {bare[0]} of {corpus.name!r} has no index"
    if group.block and not isinstance(plan.shuffle, Window):
        yield (*key, "block"), "is not a key of a plan without a window"
    if group.block >= max(group.samples, 1):
        yield (*key, "block"), f"is {group.block}, but the group has {group.samples} samples; a block has fewer"
    if group.samples != (own := group.own_samples(corpus, plan.seq_len)):
        yield (*key, "samples"), f"is {group.samples}, but the tokens of the group make {own}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
