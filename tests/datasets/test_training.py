"""Real training: a small GPT-2 learns the sample corpora from every kind of dataset."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from phyagi_assets.config import MixtureConfig
from phyagi_assets.datasets import LMDataCollator, LMDataset, MixtureStream, get_dataset, load_mixture
from phyagi_assets.declarations import Corpus
from phyagi_assets.pipeline.mixture import build_mixture
from phyagi_assets.pipeline.step import Workspace
from phyagi_assets.yamlfile import load_yaml
from tests.support import DATA, REPOSITORY, build_partition, declare, declare_corpus

SEQ_LEN, BATCH, STEPS = 32, 4, 24


@pytest.fixture
def caches(workspace: Workspace) -> list[Path]:
    """One play and one region of the sample corpora, cached."""
    return [cached(workspace, name, key)[1] for name, key in (("shakespeare", "tempest"), ("factbook", "central-asia"))]


@pytest.fixture
def mixture(workspace: Workspace) -> Path:
    """A play and a region mixed: the plan's folder."""
    return mixed(workspace, "mix", {"shakespeare": "tempest", "factbook": "central-asia"}, SEQ_LEN)


def mixed(workspace: Workspace, name: str, partitions: dict[str, str], seq_len: int) -> Path:
    """Build a partition of each sample corpus, and a mixture of them."""
    corpora = {corpus: cached(workspace, corpus, key)[0] for corpus, key in partitions.items()}
    parts = [{"corpus": corpus, "weight": weight} for corpus, weight in zip(corpora, (1.5, 0.5), strict=True)]
    declared = load_yaml(declare(workspace.data, "mixtures", name=name, seq_len=seq_len, datasets=parts), MixtureConfig)
    return build_mixture(declared, corpora, {corpus: [key] for corpus, key in partitions.items()}, workspace).artifact.path


def cached(workspace: Workspace, name: str, key: str) -> tuple[Corpus, Path]:
    """A sample corpus, and the cache of one of its partitions."""
    shares = {"splits": {"validation": 0.3}} if name == "factbook" else {}
    corpus = declare_corpus(workspace.data, name, str(DATA / "raw" / name / "*"), partition_by="file", **shares)
    return corpus, build_partition(corpus, workspace.sources.partitions(corpus)[key], workspace)[-1].artifact.path


def trainer(train: Any, evaluation: Any, folder: Path, model: Any = None, **arguments: Any) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=50_257, n_positions=SEQ_LEN, n_embd=32, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=50_256)
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
def test_a_model_learns_the_corpora_from_configurations(caches: list[Path], tmp_path: Path, concat: str) -> None:
    play, region = ({"cache_dir": str(cache), "seq_len": SEQ_LEN} for cache in caches)
    train, evaluation = get_dataset([{**play, "weight": 0.5}, {**region, "label": "facts"}], concat)
    assert evaluation is not None
    trained = trainer(train, evaluation, tmp_path)
    trained.train()
    assert losses(trained)[-1] < losses(trained)[0] - 1.5
    assert trained.evaluate()["eval_facts_loss"] < losses(trained)[0]


def test_a_model_learns_a_mixture_and_goes_on_from_its_position(mixture: Path, tmp_path: Path) -> None:
    loaded = load_mixture(mixture)
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
def test_shuffled_loading_gives_every_sample_once_however_many_workers(caches: list[Path], workers: int) -> None:
    train, _ = get_dataset([{"cache_dir": str(cache), "seq_len": SEQ_LEN} for cache in caches])
    order = torch.Generator().manual_seed(3)
    loader = DataLoader(train, batch_size=7, shuffle=True, generator=order, num_workers=workers, collate_fn=LMDataCollator())
    seen = [pair for batch in loader for pair in zip(batch["dataset_idx"].tolist(), batch["idx"].tolist(), strict=True)]
    assert Counter(seen) == Counter((dataset, i) for dataset in (0, 1) for i in range(len(train.datasets[dataset])))
    assert seen != sorted(seen)


DISTRIBUTED = """
import json, sys
import torch.distributed as dist
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler
from phyagi_assets.datasets import get_dataset
rank, store, seq_len, *caches = sys.argv[1:]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=int(rank), world_size=2)
configs = [{"cache_dir": cache, "seq_len": int(seq_len)} for cache in caches]
mapped, _ = get_dataset(configs)
sampler = DistributedSampler(mapped, shuffle=True, seed=1)
stream, _ = get_dataset(configs, dataset_concat="random_iterable")
pairs = lambda loader: [[int(a), int(b)] for batch in loader for a, b in zip(batch["dataset_idx"], batch["idx"])]
print(json.dumps([pairs(DataLoader(mapped, batch_size=5, sampler=sampler)), pairs(DataLoader(stream, batch_size=5, num_workers=2))]))
dist.barrier()
"""


def test_two_processes_share_the_samples(caches: list[Path], tmp_path: Path) -> None:
    words = [str(tmp_path / "store"), str(SEQ_LEN), *map(str, caches)]
    ranks = [
        subprocess.Popen([sys.executable, "-c", DISTRIBUTED, str(rank), *words], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
        for rank in range(2)
    ]
    said = [json.loads(process.communicate()[0].strip().splitlines()[-1]) for process in ranks]
    sizes = [len(LMDataset(np.load(cache / "train.npy", mmap_mode="r"), seq_len=SEQ_LEN)) for cache in caches]
    everything = Counter((dataset, i) for dataset, size in enumerate(sizes) for i in range(size))
    for kind in (0, 1):
        assert len(said[0][kind]) == len(said[1][kind])
        together = Counter(map(tuple, said[0][kind] + said[1][kind]))
        assert set(together) == set(everything)
        assert together.total() - everything.total() in (0, 1)  # one comes again where they do not divide evenly


@pytest.mark.parametrize(
    ("example", "said"),
    [("train_gpt2.py", "loss "), ("from_config.py", "a batch: input_ids (8, 256)"), ("first_batch.py", "input_ids (4, 32)")],
)
def test_the_examples_run_on_what_make_demo_builds(example: str, said: str, workspace: Workspace, tmp_path: Path) -> None:
    store = workspace.store.root
    mixed(workspace, "demo", {"shakespeare": "hamlet", "factbook": "europe"}, SEQ_LEN)
    arguments = {"train_gpt2.py": ["12"], "from_config.py": [str(store)]}.get(example, [])
    words = [sys.executable, str(REPOSITORY / "examples" / example), *arguments]
    environment = {**os.environ, "PHYAGI_ASSETS_STORE": str(store)}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout
