"""Engines with known faults, and the contents of a store."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engine_pool import EngineChoice, EnginePool
from phyagi_assets.tokenizers.engines import Encoded, Engine, FastokensEngine
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.prepare import prepare_tokenizer, tokenizer_store
from phyagi_assets.tokenizers.prepared import tokenizer_label


class FaultyEngine:
    """The fast engine, except that the last id of certain documents is wrong."""

    name = "faulty 1"

    def __init__(self, engine: Engine, wrong: Callable[[str], bool]) -> None:
        self._engine = engine
        self._wrong = wrong

    def encode(self, texts: pa.Array) -> Encoded:
        encoded = self._engine.encode(texts)
        ids = encoded.ids.copy()
        for text, end in zip(texts.to_pylist(), encoded.ends.tolist(), strict=True):
            if text and self._wrong(text):
                ids[end - 1] ^= 1
        return Encoded(ids=ids, ends=encoded.ends)


class FailingEngine:
    """An engine that loads, and then fails for all texts."""

    name = "failing 1"

    def __init__(self, backend: Path) -> None:
        self._backend = backend

    def encode(self, texts: pa.Array) -> Encoded:
        raise RuntimeError(f"cannot encode {len(texts)} texts")


_FAST_ENGINES: dict[str, Engine] = {}
"""Engines by the digests of their files; loading one takes most of a second."""


def fast_engine(backend: Path) -> Engine:
    """Return an engine without faults, loaded once per process."""
    digest = file_digest(backend)
    return _FAST_ENGINES.get(digest) or _FAST_ENGINES.setdefault(digest, FastokensEngine(backend))


def faulty(wrong: Callable[[str], bool]) -> EngineChoice:
    return EngineChoice(name=FaultyEngine.name, make=lambda backend: FaultyEngine(fast_engine(backend), wrong))


def wrong_about_beware(backend: Path) -> FaultyEngine:
    return FaultyEngine(fast_engine(backend), "beware".__eq__)


WRONG_ABOUT_BEWARE = EngineChoice(name="wrong 1", make=wrong_about_beware)
"""A faulty engine that another process can load."""


def pool_of(*choices: EngineChoice, loaded: EnginePool, small: int = 0) -> EnginePool:
    """Return a pool of engines with the reference engines that another pool has loaded."""
    pool = EnginePool(*choices, small=small)
    pool._references = loaded._references
    return pool


def trusting(workspace: Workspace, corpus: Corpus, choice: EngineChoice) -> Workspace:
    """Return a workspace that uses an engine, with a conformance report like that of the fast engine."""
    give_report(corpus, choice.name, workspace.data, workspace.store, workspace.store)
    return replace(workspace, engines=EnginePool(choice, small=0))


def give_report(corpus: Corpus, engine: str, data: Path, store: Store, examined: Store) -> None:
    """Copy the conformance report of another store for an engine and a corpus's tokenizer; making one takes half a minute."""
    prepared, kept = prepare_tokenizer(corpus, Identities(data), store), tokenizer_store(store)
    (version,) = (tokenizer_store(examined).root / "conformance" / ".versions").iterdir()
    report = Manifest.read(version)
    settings, inputs = {**report.settings, "engine": engine}, {"backend": file_digest(prepared.backend)}
    wanted = Manifest.expected(report.step, code_version=report.code_version, inputs=inputs, settings=settings)
    kept.write(f"conformance/{tokenizer_label(prepared.name)}", wanted, lambda _: replace(wanted, details=report.details))


def refusing(backend: Path) -> FaultyEngine:
    raise ValueError(f"no engine for {backend.name}")


REFUSING = EngineChoice(name="refusing 1", make=refusing)
"""An engine that does not load, so that the reference encodes everything without a conformance run."""


def store_contents(root: Path) -> dict[str, str]:
    """Return the digest of every file and the target of every link in a store, except for disposable state and Dagster's records."""
    aside = {".staging", ".digests", ".facts", ".irregular", ".locks", ".dagster", ".data_folders"}
    found = (path for path in sorted(root.rglob("*")) if not aside & set(path.relative_to(root).parts))
    return {
        path.relative_to(root).as_posix(): f"-> {path.readlink()}" if path.is_symlink() else file_digest(path)
        for path in found
        if path.is_symlink() or path.is_file()
    }
