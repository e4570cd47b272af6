"""A training run continues with the same samples while partitions are refreshed."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import MixtureLoader, load_mixture
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.inspection.garbage import Cleaning
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare, declare_corpus, write_text

WORDS = "To be, or not to be, that is the question: whether it is nobler in the mind to suffer. "


@pytest.fixture
def corpus(workspace: Workspace) -> Corpus:
    for name in ("a", "b", "c"):
        write_text(workspace.data / "raw" / f"{name}.txt", f"{name}: {WORDS * 20}")
    return declare_corpus(workspace.data, "plays", "raw/*.txt", partition_by="file")


@pytest.fixture
def mixture(workspace: Workspace) -> Mixture:
    return load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "plays"}]), MixtureConfig)


def refresh(corpus: Corpus, mixture: Mixture, workspace: Workspace, at: int | None = None) -> None:
    """Build everything that is stale, and remove all unneeded versions."""
    keys = list(build(corpus, workspace))
    build_mixture(mixture, {"plays": corpus}, {"plays": keys}, workspace, at)
    cleaning = Cleaning(store=workspace.store, partitions={"plays": keys}, mixtures={"mix"})
    cleaning.remove(cleaning.find())


def changes(raw: Path) -> Iterator[None]:
    """Add, change, remove and change a partition, one step at a time."""
    yield write_text(raw / "d.txt", WORDS * 30) and None
    yield write_text(raw / "a.txt", WORDS * 25) and None
    yield (raw / "b.txt").unlink()
    yield write_text(raw / "c.txt", WORDS * 5) and None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("appending", [False, True])
def test_loader_reads_the_same_samples_during_a_refresh(
    corpus: Corpus, mixture: Mixture, workspace: Workspace, workers: int, appending: bool
) -> None:
    refresh(corpus, mixture, workspace)
    loaded = load_mixture("mix", store=workspace.store.root)
    undisturbed = loaded.train.batch(np.arange(80))["input_ids"]
    loader = MixtureLoader(load_mixture("mix", store=workspace.store.root).train, batch_size=4, num_workers=workers, endless=True)
    batches = iter(loader)
    for i, _ in enumerate(changes(workspace.data / "raw")):
        refresh(corpus, mixture, workspace, at=1000 + i if appending else None)
        for number, batch in enumerate(islice(batches, 4), 4 * i):
            assert batch["input_ids"].equal(undisturbed[4 * number : 4 * number + 4])
    state = loader.state_dict()
    assert state["position"] == 64
    # And again, in another process, after all of it.
    plan = loaded.home / "mixture.json"
    resumed = MixtureLoader(load_mixture(plan).train, batch_size=4, endless=True)
    resumed.load_state_dict(state)
    for number, batch in enumerate(islice(iter(resumed), 4), 16):
        assert batch["input_ids"].equal(undisturbed[4 * number : 4 * number + 4])
    if appending:  # the mixture as it is now goes on from there too
        now = MixtureLoader(load_mixture("mix", store=workspace.store.root).train, batch_size=4, endless=True)
        now.load_state_dict(state)
        assert next(iter(now))["input_ids"].equal(undisturbed[64:68])
