"""Conformance run: find the text on which a fast engine differs from ``tokenizers``, once per tokenizer and engine version.

All known differences between fast engines and ``tokenizers`` concern rare characters, which samples of text miss. Therefore both encode
every Unicode code point, alone and in contexts that matter to pre-tokenizers, every added token, and a few thousand awkward strings. In the
planes to which Unicode assigns no characters, they encode every 16th code point, and all of a plane if one differs. Code points that are
encoded differently form the *unsafe set*: documents that contain one are encoded by ``tokenizers``. If no code point explains a difference,
or the tokenizer has a setting that fast engines do not support, the fast engine is not used for the tokenizer at all.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.awkward import awkward_strings
from phyagi_assets.tokenizers.conformance_reports import keep_report, known_report
from phyagi_assets.tokenizers.engines import Engine, ReferenceEngine
from phyagi_assets.tokenizers.prepare import tokenizer_store
from phyagi_assets.tokenizers.prepared import PreparedTokenizer, tokenizer_label

CODE_VERSION = "1"
AWKWARD = 4000
"""Number of random strings that are hard to tokenize in a conformance run."""
MOST_UNSAFE = 4096
"""Largest size of the unsafe set; an engine that differs on more code points is not used for the tokenizer."""
_PER_STRING = 64
"""Number of code points per string, so that there are fewer strings to compare; a mismatch is found quickly among so few."""
_BATCH = 1 << 14
"""Number of strings per batch."""
_WITHOUT_CHARACTERS = frozenset({*range(4, 14), 15, 16})
"""Planes that are unassigned or for private use. All of their code points have the same properties, and comparing each would take three
times as long as comparing the rest."""
_SPARSE = 16
"""Step between the code points that are compared in these planes unless one differs."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformance:
    """The result of a conformance run."""

    engine: str
    """Name of the engine, with its version."""
    unsafe: tuple[int, ...] = ()
    """Unsafe code points, ascending; documents that contain one are encoded by the reference engine."""
    distrust: str = ""
    """Reason why the engine is not used for this tokenizer at all; empty if it is used."""


def conformance(prepared: PreparedTokenizer, engine: Callable[[Path], Engine], engine_name: str, store: Store) -> Conformance:
    """Return the conformance report for a tokenizer and an engine.

    The report is read from the store or from the user's reports. If neither has it, the run takes place, and both get its report.

    Parameters
    ----------
    engine
        Creates the engine from the tokenizer's JSON file. If it raises an error, the engine is not used, for that reason.
    engine_name
        Name of the engine, with its version; each version gets its own run.
    """
    settings = {"engine": engine_name, "reference": ReferenceEngine.name}
    inputs = {"backend": file_digest(prepared.backend)}
    expected = Manifest.expected("conformance", code_version=CODE_VERSION, inputs=inputs, settings=settings)
    tokenizers = tokenizer_store(store)
    address = f"conformance/{tokenizer_label(prepared.name)}"
    artifact = tokenizers.find(address, expected.fingerprint)
    if artifact is None:
        details = known_report(expected.fingerprint)
        if details is None:
            logger.info(
                "Comparing %s with %s for tokenizer %r on the code points of Unicode; this is done once and takes some seconds",
                engine_name,
                ReferenceEngine.name,
                prepared.name,
            )
            report = examine(prepared.backend, engine, engine_name)
            details = {"unsafe": list(report.unsafe), "distrust": report.distrust}
            if not report.distrust:  # an engine that failed may work in another store
                keep_report(expected.fingerprint, {"tokenizer": prepared.name, **settings, **details})
        artifact = tokenizers.write(address, expected, lambda _: replace(expected, details=details))
    found = artifact.manifest.details
    return Conformance(engine=engine_name, unsafe=tuple(found["unsafe"]), distrust=found["distrust"])


def examine(backend: Path, make_engine: Callable[[Path], Engine], engine_name: str) -> Conformance:
    """Run the comparison, which takes about 5 seconds on two cores."""
    try:
        unsafe = _unsafe_points(backend, make_engine)
    except _NotUsable as reason:
        return Conformance(engine=engine_name, distrust=str(reason))
    return Conformance(engine=engine_name, unsafe=tuple(sorted(unsafe)))


class _NotUsable(Exception):
    """The engine cannot be used for the tokenizer; the message says why."""


def _unsafe_points(backend: Path, make_engine: Callable[[Path], Engine]) -> set[int]:
    declared = json.loads(backend.read_text(encoding="utf-8"))
    if unknown := _unknown_setting(declared):
        raise _NotUsable(unknown)
    try:
        engine = make_engine(backend)
    except Exception as problem:  # an engine may raise any exception to refuse a tokenizer
        raise _NotUsable(f"the engine refuses the tokenizer: {problem}") from problem
    try:
        return _compared(engine, ReferenceEngine(backend), [token["content"] for token in declared.get("added_tokens", [])])
    except _NotUsable:
        raise
    except Exception as problem:
        raise _NotUsable(f"the engine fails: {problem}") from problem


def _compared(engine: Engine, reference: Engine, added_tokens: Sequence[str]) -> set[int]:
    unsafe = set[int]()
    for group in _code_point_groups():
        if group[0] >> 16 in _WITHOUT_CHARACTERS and not _differing_points(engine, reference, group[::_SPARSE]):
            continue
        unsafe |= _differing_points(engine, reference, group)
        if len(unsafe) > MOST_UNSAFE:
            raise _NotUsable(f"more than {MOST_UNSAFE} code points differ; the first is {min(unsafe):#x}")
    strings = awkward_strings(added_tokens, count=AWKWARD)
    for i in _differing(engine, reference, strings):
        if not unsafe.intersection(map(ord, strings[i])):
            raise _NotUsable(f"{strings[i]!r} differs, and no code point in it explains why")
    return unsafe


def _differing_points(engine: Engine, reference: Engine, points: Sequence[int]) -> set[int]:
    """Return the code points that the two engines encode differently, alone or in a context."""
    found = {points[i] for i in _differing(engine, reference, [chr(point) for point in points])}
    if len(found) > MOST_UNSAFE:
        return found
    rows = [points[i : i + _PER_STRING] for i in range(0, len(points), _PER_STRING)]
    for i in _differing(engine, reference, ["".join(map(_surrounded, row)) for row in rows]):
        in_row = {point for point in rows[i] if _differing(engine, reference, [_surrounded(point), *_apart(point)])}
        if not in_row:
            raise _NotUsable(f"code points {rows[i][0]:#x}–{rows[i][-1]:#x} differ together but not one by one")
        found |= in_row
    return found


def _unknown_setting(declared: dict[str, object]) -> str:
    """Describe a setting of the tokenizer that fast engines are known to ignore; empty if it has none."""
    model = declared["model"]
    assert isinstance(model, dict)
    if model.get("dropout"):
        return "its model has dropout, which is random"
    added = declared.get("added_tokens") or []
    assert isinstance(added, list)
    for token in added:
        for flag in ("lstrip", "rstrip", "single_word"):
            if token.get(flag):
                return f"added token {token['content']!r} has {flag}"
    return ""


def _code_point_groups() -> Iterable[Sequence[int]]:
    """Yield the code points of each plane, without surrogates, which do not occur in UTF-8 text."""
    yield [*range(0xD800), *range(0xE000, 0x10000)]
    for start in range(0x10000, 0x110000, 0x10000):
        yield range(start, start + 0x10000)


def _surrounded(point: int) -> str:
    c = chr(point)
    return f"a{c}b {c}'{c}\n{c}{c}1{c}\u0301 "


def _apart(point: int) -> list[str]:
    c = chr(point)
    return [f"a{c}b", f" {c}", f"'{c}", f"x'{c} ", f"\n{c}", f"{c}{c}", f"1{c}", f"{c}\u0301", f"{c} "]


def _differing(engine: Engine, reference: Engine, strings: list[str]) -> list[int]:
    """Return the indices of the strings that the two engines encode differently."""
    found: list[int] = []
    for start in range(0, len(strings), _BATCH):
        texts = pa.array(strings[start : start + _BATCH], pa.string())
        ours, theirs = engine.encode(texts), reference.encode(texts)
        if not (np.array_equal(ours.ends, theirs.ends) and np.array_equal(ours.ids, theirs.ids)):
            found += [start + i for i in range(len(texts)) if not np.array_equal(ours.ids_of(i), theirs.ids_of(i))]
    return found
