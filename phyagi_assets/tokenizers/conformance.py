"""How far a fast engine may be trusted with a tokenizer: measured, once, and kept.

Every difference seen between fast engines and ``tokenizers`` lay in rare characters, which samples of text miss. So every Unicode
code point is encoded both ways, alone and in surroundings that pre-tokenizers care about, and so is every added token and a few
thousand awkward strings. Code points that are treated differently make the *unsafe set*; a document with one of them is encoded by
``tokenizers``. A difference that no code point explains, or a setting that the engine does not know, sends the whole tokenizer there.
"""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.local import Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.awkward import awkward_strings
from phyagi_assets.tokenizers.engines import Engine, ReferenceEngine
from phyagi_assets.tokenizers.prepare import PreparedTokenizer, tokenizer_label, tokenizer_store

CODE_VERSION = "1"
AWKWARD = 4000
MOST_UNSAFE = 4096
"""An engine that differs on more code points than this is another tokenizer."""
_TOGETHER = 64  # code points to a string: fewer strings to compare, and a mismatch is soon found among so few
_AT_ONCE = 1 << 14  # strings to a batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Conformance:
    """What the run found."""

    engine: str
    unsafe: tuple[int, ...] = ()
    """Code points whose documents the reference encodes, ascending."""
    distrust: str = ""
    """Why the engine is not used at all for this tokenizer; empty where it is."""


def conformance(prepared: PreparedTokenizer, engine: Callable[[Path], Engine], engine_name: str, store: Store) -> Conformance:
    """The report for a tokenizer and an engine, from the store where the run was made before.

    Parameters
    ----------
    prepared
        The tokenizer.
    engine
        Makes the engine from the tokenizer's JSON; whatever it raises is the reason not to use it.
    engine_name
        The engine's name with its version: another version is another run.
    store
        Where reports are kept.
    """
    settings = {"engine": engine_name, "reference": ReferenceEngine.name}
    inputs = {"backend": file_digest(prepared.backend)}
    wanted = Manifest.wanted("conformance", code_version=CODE_VERSION, inputs=inputs, settings=settings)
    kept = tokenizer_store(store)
    address = f"conformance/{tokenizer_label(prepared.name)}"
    artifact = kept.find(address, wanted.fingerprint)
    if artifact is None:
        logger.info(
            "Comparing %s with %s for tokenizer %r on every Unicode code point: once, some 15 s",
            engine_name,
            ReferenceEngine.name,
            prepared.name,
        )
        report = examine(prepared.backend, engine, engine_name)
        details = {"unsafe": list(report.unsafe), "distrust": report.distrust}
        artifact = kept.write(address, wanted, lambda _: replace(wanted, details=details))
    found = artifact.manifest.details
    return Conformance(engine=engine_name, unsafe=tuple(found["unsafe"]), distrust=found["distrust"])


def examine(backend: Path, make_engine: Callable[[Path], Engine], engine_name: str) -> Conformance:
    """Make the run (some 15 seconds on two cores)."""
    declared = json.loads(backend.read_text(encoding="utf-8"))
    if unknown := _unknown_setting(declared):
        return Conformance(engine=engine_name, distrust=unknown)
    try:
        engine = make_engine(backend)
    except Exception as problem:  # an engine refuses in whatever way it likes
        return Conformance(engine=engine_name, distrust=f"the engine refuses the tokenizer: {problem}")
    try:
        return _compared(engine, ReferenceEngine(backend), engine_name, [token["content"] for token in declared.get("added_tokens", [])])
    except Exception as problem:
        return Conformance(engine=engine_name, distrust=f"the engine fails: {problem}")


def _compared(engine: Engine, reference: Engine, engine_name: str, added_tokens: Sequence[str]) -> Conformance:
    unsafe = set[int]()
    for group in _code_point_groups():
        alone = [chr(point) for point in group]
        unsafe.update(group[i] for i in _differing(engine, reference, alone))
        if len(unsafe) > MOST_UNSAFE:
            return Conformance(engine=engine_name, distrust=f"more than {MOST_UNSAFE} code points differ, {min(unsafe):#x} the first")
        rows = [group[i : i + _TOGETHER] for i in range(0, len(group), _TOGETHER)]
        for i in _differing(engine, reference, ["".join(map(_surrounded, row)) for row in rows]):
            found = {point for point in rows[i] if _differing(engine, reference, [_surrounded(point), *_apart(point)])}
            if not found:
                return Conformance(
                    engine=engine_name, distrust=f"code points {rows[i][0]:#x}–{rows[i][-1]:#x} differ together but not one by one"
                )
            unsafe |= found
    strings = awkward_strings(added_tokens, count=AWKWARD)
    for i in _differing(engine, reference, strings):
        if not unsafe.intersection(map(ord, strings[i])):
            return Conformance(engine=engine_name, distrust=f"{strings[i]!r} differs, and no code point in it explains why")
    return Conformance(engine=engine_name, unsafe=tuple(sorted(unsafe)))


def _unknown_setting(declared: dict[str, object]) -> str:
    """A setting that fast engines are known to overlook, if the tokenizer has one."""
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
    """All code points but the surrogates, which no UTF-8 text has."""
    step = _TOGETHER * 1024
    for block in (range(0xD800), range(0xE000, 0x110000)):
        for start in range(block.start, block.stop, step):
            yield range(start, min(start + step, block.stop))


def _surrounded(point: int) -> str:
    c = chr(point)
    return f"a{c}b {c}'{c}\n{c}{c}1{c}\u0301 "


def _apart(point: int) -> list[str]:
    c = chr(point)
    return [f"a{c}b", f" {c}", f"'{c}", f"x'{c} ", f"\n{c}", f"{c}{c}", f"1{c}", f"{c}\u0301", f"{c} "]


def _differing(engine: Engine, reference: Engine, strings: list[str]) -> list[int]:
    """The indices of the strings that the two encode differently."""
    found: list[int] = []
    for start in range(0, len(strings), _AT_ONCE):
        texts = pa.array(strings[start : start + _AT_ONCE], pa.string())
        ours, theirs = engine.encode(texts), reference.encode(texts)
        if not (np.array_equal(ours.ends, theirs.ends) and np.array_equal(ours.ids, theirs.ids)):
            found += [start + i for i in range(len(texts)) if not np.array_equal(ours.of(i), theirs.of(i))]
    return found
