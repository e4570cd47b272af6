"""Fixtures for creating caches."""

from pathlib import Path

import pytest

from phyagi_assets.settings import STORE_VARIABLE
from phyagi_assets.steps import text_cache
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN, EnginePool
from tests.support import copy_store, declare_corpus
from tests.tokenizers.faulty_engines import give_report


@pytest.fixture(scope="session")
def library_store(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, small_folder: Path) -> Path:
    """A store of the library that contains the small tokenizer."""
    folder = tmp_path_factory.mktemp("library")
    store = LocalStore(copy_store(prepared_store, folder / "store"))
    corpus = declare_corpus(folder / "data", "any", "any.txt", tokenizer=str(small_folder))
    give_report(corpus, GIGATOKEN.name, folder / "data", store, LocalStore(prepared_store))
    return store.root


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, library_store: Path, engines: EnginePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory for a test, with that store; the engines, which each cache loads for itself, are loaded once."""
    monkeypatch.setattr(text_cache, "EnginePool", lambda: engines)
    monkeypatch.setenv(STORE_VARIABLE, str(library_store))
    monkeypatch.chdir(tmp_path)
