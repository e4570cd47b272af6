"""Conformance runs find the text on which a fast engine must not be used."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers import conformance as conformance_run
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.conformance import Conformance, conformance, examine
from phyagi_assets.tokenizers.engine_pool import FASTOKENS, GIGATOKEN, EngineChoice, EnginePool, Engines
from phyagi_assets.tokenizers.engines import FastokensEngine, ReferenceEngine
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from phyagi_assets.tokenizers.prepared import PreparedTokenizer
from tests.support import declare_corpus
from tests.tokenizers.faulty_engines import REFUSING, FailingEngine, faulty, pool_of, refusing, store_contents

LONG_S, SMILE = "\u017f", "\U0001f642"
FAILING = EngineChoice(name=FailingEngine.name, make=FailingEngine)


class Run(NamedTuple):
    """A tokenizer, its store, and an engine that encodes two code points incorrectly."""

    prepared: PreparedTokenizer
    store: Store
    choice: EngineChoice
    report: Conformance


@pytest.fixture(scope="module")
def run(prepared_store: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    """A conformance run over the code points around the two incorrect ones; over every code point with ``--soak``."""
    base = tmp_path_factory.mktemp("conformance")
    store = LocalStore(base / "store")
    shutil.copytree(prepared_store, store.root)
    prepared = prepare_tokenizer(declare_corpus(base / "data", "c", "c.txt"), Identities(base / "data"), store)
    choice = faulty(lambda text: LONG_S in text or SMILE in text)
    with pytest.MonkeyPatch.context() as patch:
        if not request.config.getoption("soak"):
            patch.setattr(conformance_run, "_code_point_groups", lambda: [range(0x300), range(0x1F600, 0x1F680)])
        return Run(prepared, store, choice, conformance(prepared, choice.make, choice.name, store))


def test_every_code_point_of_valid_text_is_compared() -> None:
    points = [point for group in conformance_run._code_point_groups() for point in group]
    assert points == [*range(0xD800), *range(0xE000, 0x110000)]


def test_exactly_the_code_points_that_differ_are_unsafe(run: Run) -> None:
    assert run.report == Conformance(engine=run.choice.name, unsafe=(ord(LONG_S), ord(SMILE)))


def test_documents_have_exact_ids_if_the_fast_engine_is_not_used(run: Run) -> None:
    reference = ReferenceEngine(run.prepared.backend)
    exact = ExactTokenizer(Engines.load(run.prepared, run.store, [run.choice], reference=reference), verify="full")
    texts = pa.array(["plain", f"I'{LONG_S} there", "", f"{SMILE}", f"a{SMILE}b{LONG_S}", "plain again"])
    truth = reference.encode(texts)
    encoded, wrong = exact.encode(texts), run.choice.make(run.prepared.backend).encode(texts)
    assert exact.engine == run.choice.name
    assert np.array_equal(encoded.ids, truth.ids)
    assert np.array_equal(encoded.ends, truth.ends)
    assert [i for i in range(len(texts)) if not np.array_equal(wrong.ids_of(i), truth.ids_of(i))] == [1, 3, 4]


def test_conformance_report_is_stored_and_reused(run: Run) -> None:
    kept = store_contents(run.store.root)
    assert conformance(run.prepared, refusing, run.choice.name, run.store) == run.report  # the engine is not even loaded
    assert store_contents(run.store.root) == kept


def test_new_engine_version_repeats_the_conformance_run(run: Run) -> None:
    assert conformance(run.prepared, refusing, "faulty 2", run.store).distrust


def test_engine_conforms_to_gpt2_for_the_code_points_compared(run: Run) -> None:
    """The report comes with the store and covers every code point with ``--soak``; an engine loaded to make another would refuse."""
    assert conformance(run.prepared, refusing, GIGATOKEN.name, run.store) == Conformance(engine=GIGATOKEN.name)


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (faulty(lambda text: "Hello" in text), "'Hello' differs, and no code point in it explains why"),
        (faulty(lambda text: "<|endoftext|>" in text), "'<|endoftext|>' differs"),
        (faulty(lambda text: len(text) > 500), "code points 0x0–0x3f differ together but not one by one"),
        (REFUSING, "the engine refuses the tokenizer: no engine for backend.json"),
        (FAILING, "the engine fails: cannot encode"),
    ],
)
@pytest.mark.usefixtures("few_code_points")
def test_unexplained_difference_uses_the_reference_with_a_warning(
    run: Run, engines: EnginePool, choice: EngineChoice, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    choice = replace(choice, name=f"{choice.name}, {reason}")  # a report of its own
    with caplog.at_level(logging.WARNING):
        chosen = pool_of(choice, loaded=engines).engines(run.prepared, run.store)
    assert chosen.fast is None
    (warning,) = caplog.messages
    assert f"is not used for tokenizer {run.prepared.name!r}" in warning
    assert reason in warning
    assert ReferenceEngine.name in warning


@pytest.mark.usefixtures("few_code_points")
def test_first_engine_that_conforms_is_used_and_a_corpus_can_name_another(run: Run, engines: EnginePool) -> None:
    pool = pool_of(REFUSING, GIGATOKEN, FASTOKENS, loaded=engines)
    fast = pool.engines(run.prepared, run.store).fast
    assert fast is not None
    assert fast.name == GIGATOKEN.name
    named = pool.engines(run.prepared, run.store, engine="fastokens").fast
    assert named is not None
    assert named.name == FASTOKENS.name
    assert pool.engines(run.prepared, run.store, engine="tokenizers").fast is None


@pytest.mark.usefixtures("few_code_points")
def test_small_source_is_encoded_by_the_reference_alone_unless_an_engine_is_named(run: Run, engines: EnginePool) -> None:
    pool = pool_of(GIGATOKEN, loaded=engines, small=100)
    assert pool.engines(run.prepared, run.store, size=101).fast is not None
    assert pool.engines(run.prepared, run.store, size=100).fast is None
    assert pool.engines(run.prepared, run.store, engine="gigatoken", size=100).fast is not None


def _settings(folder: Path, *, added: dict[str, Any], model: dict[str, Any]) -> Path:
    save_byte_tokenizer(folder)
    declared = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    declared["added_tokens"][0] |= added
    declared["model"] |= model
    (folder / "tokenizer.json").write_text(json.dumps(declared), encoding="utf-8")
    return folder / "tokenizer.json"


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_added_tokens_with_unsupported_flags_use_the_reference(tmp_path: Path, flag: str) -> None:
    backend = _settings(tmp_path, added={flag: True}, model={})
    assert examine(backend, FastokensEngine, FastokensEngine.name).distrust == f"added token '<|endoftext|>' has {flag}"


def test_model_with_dropout_uses_the_reference(tmp_path: Path) -> None:
    backend = _settings(tmp_path, added={}, model={"dropout": 0.1})
    assert "dropout" in examine(backend, FastokensEngine, FastokensEngine.name).distrust


@pytest.mark.usefixtures("few_code_points")
def test_tokenizer_without_unsupported_settings_can_use_a_fast_engine(tmp_path: Path) -> None:
    backend = _settings(tmp_path, added={}, model={})
    assert examine(backend, FastokensEngine, FastokensEngine.name) == Conformance(engine=FastokensEngine.name)
