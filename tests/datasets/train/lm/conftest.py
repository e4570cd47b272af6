"""Fixtures for creating caches."""

from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.settings import STORE_VARIABLE
from phyagi_assets.steps import text_cache
from phyagi_assets.tokenizers.exact import EnginePool
from tests.support import GPT2, copy_store


@pytest.fixture(scope="session")
def library_store(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path) -> Path:
    """A store of the library that contains the GPT-2 tokenizer."""
    return copy_store(prepared_store, tmp_path_factory.mktemp("library") / "store")


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, library_store: Path, engines: EnginePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory for a test, with that store; the engines, which each cache loads for itself, are loaded once."""
    monkeypatch.setattr(text_cache, "EnginePool", lambda: engines)
    monkeypatch.setenv(STORE_VARIABLE, str(library_store))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def gpt2() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(GPT2)
