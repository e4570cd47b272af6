"""Real training: a small GPT-2 learns the sample corpora from every kind of dataset."""

import json
import runpy
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from phyagi_assets.datasets import LMDataCollator, LMDataset, MixtureStream, get_dataset, load_mixture
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.settings import STORE_VARIABLE
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN, EnginePool
from tests.command import command
from tests.datasets.processes import in_processes
from tests.support import DATA, REPOSITORY, build, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import give_report

pytestmark = pytest.mark.usefixtures("imports_of_trainers")

SEQ_LEN, BATCH, STEPS = 32, 4, 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Store:
    """A store with the caches of a play and of a region, and a mixture of them named ``demo``.

    Their tokens are bytes, and only the beginnings are taken: most of the time of training goes into a large vocabulary and the evaluation.
    """
    folder = tmp_path_factory.mktemp("built")
    save_byte_tokenizer(folder / "tokenizers" / "bytes")
    workspace = Workspace(data=folder, store=LocalStore(folder / "store"), engines=engines)
    play, region = (DATA / "raw" / file for file in ("shakespeare/hamlet.txt", "factbook/europe.jsonl"))
    rows = [json.loads(line)["text"] for line in region.read_text(encoding="utf-8").splitlines()]
    write_text(folder / "shakespeare" / play.name, play.read_text(encoding="utf-8")[:20_000])
    write_jsonl(folder / "factbook" / region.name, [row[:800] for row in rows[:12]])
    corpora = {
        name: declare_corpus(folder, name, f"{name}/*", partition_by="file", tokenizer="tokenizers/bytes", **keys)
        for name, keys in (("shakespeare", {}), ("factbook", {"splits": {"validation": 0.3}}))
    }
    give_report(corpora["factbook"], GIGATOKEN.name, folder, workspace.store, LocalStore(prepared_store))
    keys = {name: list(build(corpus, workspace)) for name, corpus in corpora.items()}
    parts = [{"corpus": "shakespeare", "weight": 1.5}, {"corpus": "factbook", "weight": 0.5}]
    declared = load_yaml(declare(folder, "mixtures", name="demo", seq_len=SEQ_LEN, datasets=parts), MixtureConfig)
    build_mixture(declared, corpora, keys, workspace)
    return workspace.store


@pytest.fixture
def caches(store: Store) -> list[Path]:
    """The caches of the play and of the region."""
    return [store.pointer(address) for address in ("shakespeare/numpy_cache/hamlet", "factbook/numpy_cache/europe")]


def trainer(train: Any, evaluation: Any, folder: Path, model: Any = None, **arguments: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=257, n_positions=SEQ_LEN, n_embd=32, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=256)
    settings = {"max_steps": STEPS, "per_device_train_batch_size": BATCH, "learning_rate": 1e-2, "logging_steps": 4, "save_strategy": "no"}
    settings |= {"report_to": [], "use_cpu": True, "disable_tqdm": True, **arguments}
    return Trainer(
        model=model or GPT2LMHeadModel(config),
        args=TrainingArguments(output_dir=str(folder), **settings),
        train_dataset=train,
        eval_dataset=evaluation,
        data_collator=LMDataCollator(),
    )


def losses(trained: Any) -> list[float]:
    return [entry["loss"] for entry in trained.state.log_history if "loss" in entry]


@pytest.mark.parametrize("concat", ["random", "sequential", "random_iterable"])
def test_model_trains_on_corpora_from_configurations(caches: list[Path], tmp_path: Path, concat: str) -> None:
    play, region = ({"cache_dir": str(cache), "seq_len": SEQ_LEN} for cache in caches)
    train, evaluation = get_dataset([{**play, "weight": 0.5}, {**region, "label": "facts"}], concat)
    assert evaluation is not None
    trained = trainer(train, evaluation, tmp_path)
    trained.train()
    assert losses(trained)[-1] < losses(trained)[0] - 1.5
    assert trained.evaluate()["eval_facts_loss"] < losses(trained)[0]


def test_model_trains_on_a_mixture_and_resumes_from_a_position(store: Store, tmp_path: Path) -> None:
    loaded = load_mixture("demo", store=store.root)
    read: list[int] = []

    class Watched(MixtureStream):
        def __iter__(self) -> Any:
            for sample in super().__iter__():
                read.append(int(sample["position"]))
                yield sample

    stream = Watched(loaded.train, batch_size=BATCH, samples=True, endless=True)
    first = trainer(stream, None, tmp_path)
    first.train()
    assert losses(first)[-1] < losses(first)[0] - 1.5
    assert read[: STEPS * BATCH] == list(range(STEPS * BATCH))
    resumed = Watched(loaded.train, batch_size=BATCH, samples=True, endless=True)
    resumed.load_state_dict({**stream.state_dict(), "position": STEPS * BATCH})
    read.clear()
    second = trainer(resumed, None, tmp_path, model=first.model, max_steps=4)
    second.train()
    assert read[: 4 * BATCH] == list(range(STEPS * BATCH, (STEPS + 4) * BATCH))
    assert losses(second)[0] < losses(first)[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_loading_returns_every_sample_once_with_any_number_of_workers(caches: list[Path], workers: int) -> None:
    train, _ = get_dataset([{"cache_dir": str(cache), "seq_len": SEQ_LEN} for cache in caches])
    order = torch.Generator().manual_seed(3)
    loader = DataLoader(train, batch_size=7, shuffle=True, generator=order, num_workers=workers, collate_fn=LMDataCollator())
    seen = [pair for batch in loader for pair in zip(batch["dataset_idx"].tolist(), batch["idx"].tolist(), strict=True)]
    assert Counter(seen) == Counter((dataset, i) for dataset in (0, 1) for i in range(len(train.datasets[dataset])))
    assert seen != sorted(seen)


Pairs = list[tuple[int, int]]


def _read_by_rank(caches: list[Path], rank: int) -> tuple[Pairs, Pairs]:
    assert torch.distributed.get_rank() == rank
    configs = [{"cache_dir": str(cache), "seq_len": SEQ_LEN} for cache in caches]
    mapped, _ = get_dataset(configs)
    stream, _ = get_dataset(configs, dataset_concat="random_iterable")
    sampler = DistributedSampler(mapped, shuffle=True, seed=1)
    return _pairs(DataLoader(mapped, batch_size=5, sampler=sampler)), _pairs(DataLoader(stream, batch_size=5, num_workers=2))


def _pairs(loader: Any) -> Pairs:
    return [pair for batch in loader for pair in zip(batch["dataset_idx"].tolist(), batch["idx"].tolist(), strict=True)]


def test_two_processes_divide_the_samples(caches: list[Path], tmp_path: Path) -> None:
    said = in_processes(tmp_path, 2, partial(_read_by_rank, caches))
    sizes = [len(LMDataset(np.load(cache / "train.npy", mmap_mode="r"), seq_len=SEQ_LEN)) for cache in caches]
    everything = Counter((dataset, i) for dataset, size in enumerate(sizes) for i in range(size))
    for kind in (0, 1):
        assert len(said[0][kind]) == len(said[1][kind])
        together = Counter(map(tuple, said[0][kind] + said[1][kind]))
        assert set(together) == set(everything)
        assert together.total() - everything.total() in (0, 1)  # one comes again where they do not divide evenly


@pytest.mark.parametrize(
    ("example", "arguments", "said"),
    [
        ("train_gpt2.py", ["12"], "loss "),
        ("from_config.py", ["{store}"], "a batch: input_ids (8, 256)"),
        ("first_batch.py", [], "input_ids (4, 32)"),
        ("train_jax.py", ["--steps", "3"], "step 3: loss "),
        ("fine_tune.py", ["conversations", "4"], "resumed at step 2: the weights are the same"),
    ],
)
def test_examples_run_on_the_store_of_make_demo(
    example: str,
    arguments: list[str],
    said: str,
    store: Store,
    prepared_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main = sys.modules["__main__"]

    def run(words: list[str | Path], *, check: bool, stdout: int | None = None) -> None:
        """Run the command in a forked process, with the report of the tokenizer's conformance run, which takes ten seconds."""
        if "materialize" in words:
            folder = tmp_path / "conversations"
            corpus = load_yaml(folder / "corpora" / "small.yaml", CorpusConfig)
            give_report(corpus, GIGATOKEN.name, folder, LocalStore(folder / "store"), LocalStore(prepared_store))
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, "__main__", main)  # the forked process would run the example again
            done = command(*words[1:])
        assert check
        assert done.returncode == 0, done.stderr
        assert stdout or "3 built" in done.stdout

    if example == "train_jax.py":
        pytest.importorskip("jax")
    monkeypatch.setenv(STORE_VARIABLE, str(store.root))
    monkeypatch.chdir(tmp_path)
    if example == "fine_tune.py":
        monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", [example, *(argument.format(store=store.root) for argument in arguments)])
    runpy.run_path(str(REPOSITORY / "examples" / example), run_name="__main__")
    assert said in capsys.readouterr().out


def test_jax_example_has_finite_gradients_in_a_batch_without_labels() -> None:
    jax = pytest.importorskip("jax")
    example = runpy.run_path(str(REPOSITORY / "examples" / "train_jax.py"))
    parameters = {"read": np.ones((3, 2), np.float32), "write": np.ones((2, 3), np.float32)}
    loss, gradients = jax.value_and_grad(example["loss_of"])(parameters, np.zeros((1, 4), np.int64), np.full((1, 4), -100))
    assert loss == 0
    assert all((slope == 0).all() for slope in gradients.values())
