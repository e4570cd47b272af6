"""A change makes exactly the dependent artifacts stale."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phyagi_assets.build.staleness import mixture_artifact, partition_artifacts
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.steps.mixture import MIXTURE, build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import GPT2, build, copy_data, copy_store, declare, declare_corpus, write_text

PLAYS = {"hamlet": "To be, or not to be, that is the question.", "lear": "Nothing will come of nothing.", "macbeth": "Out, brief candle."}


def _declared(workspace: Workspace, **keys: Any) -> dict[str, Any]:
    corpus = declare_corpus(workspace.data, "plays", "plays/*.txt", partition_by="file", **keys)
    path = declare(workspace.data, "mixtures", name="mix", seq_len=4, datasets=[{"corpus": "plays"}])
    return {"corpus": corpus, "mixture": load_yaml(path, MixtureConfig)}


def _stale(workspace: Workspace, **keys: Any) -> set[str]:
    """Return the addresses of the stale artifacts."""
    declared = _declared(workspace, **keys)
    corpus = declared["corpus"]
    artifacts = {key: partition_artifacts(corpus, part, workspace) for key, part in workspace.sources.partitions(corpus).items()}
    plan = mixture_artifact(declared["mixture"], {"plays": {key: of[-1].fingerprint for key, of in artifacts.items()}}, workspace, MIXTURE)
    return {artifact.address for artifact in [*(artifact for of in artifacts.values() for artifact in of), plan] if not artifact.is_current}


def _build_all(workspace: Workspace, **keys: Any) -> set[str]:
    """Build everything that is stale, and return the addresses of the written artifacts."""
    declared = _declared(workspace, **keys)
    built = build(declared["corpus"], workspace)
    plan = build_mixture(declared["mixture"], {"plays": declared["corpus"]}, {"plays": list(built)}, workspace)
    return {step.artifact.address for step in [*(step for of in built.values() for step in of), plan] if not step.reused}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """A data folder of plays in which everything is built."""
    data = tmp_path_factory.mktemp("built") / "data"
    for name, text in PLAYS.items():
        write_text(data / "plays" / f"{name}.txt", text)
    _build_all(Workspace(data=data, store=LocalStore(copy_store(prepared_store, data / "store")), engines=engines))
    return data


@pytest.fixture
def plays(built: Path, workspace: Workspace) -> Path:
    """The folder of the plays in a copy."""
    shutil.rmtree(workspace.data)
    copy_data(built, workspace.data)
    assert _stale(workspace) == set()
    return workspace.data / "plays"


def _chain(play: str) -> set[str]:
    return {f"plays/{stage}/{play}" for stage in ("raw_dataset", "tokenized_arrow", "numpy_cache")}


def _touch(plays: Path) -> None:
    os.utime(plays / "lear.txt", (1, 1))


def _rewrite(plays: Path) -> None:
    write_text(plays / "lear.txt", PLAYS["lear"])


def _replace(plays: Path) -> None:
    """Replace a file by an equal one with another inode."""
    write_text(plays / "lear.draft", PLAYS["lear"]).rename(plays / "lear.txt")


@pytest.mark.parametrize("change", [_touch, _rewrite, _replace])
def test_files_with_unchanged_content_make_nothing_stale(workspace: Workspace, plays: Path, change: Callable[[Path], None]) -> None:
    change(plays)
    assert _stale(workspace) == set()
    assert _build_all(workspace) == set()


def _edit(plays: Path) -> set[str]:
    write_text(plays / "lear.txt", "Never, never, never, never, never.")
    return _chain("lear")


def _edit_unseen(plays: Path) -> set[str]:
    """Change the letters of a file, but not its size and time of change."""
    before = (plays / "lear.txt").stat()
    write_text(plays / "lear.txt", PLAYS["lear"].swapcase())
    os.utime(plays / "lear.txt", ns=(before.st_atime_ns, before.st_mtime_ns))
    return _chain("lear")


def _add(plays: Path) -> set[str]:
    write_text(plays / "tempest.txt", "We are such stuff as dreams are made on.")
    return _chain("tempest")


def _remove(plays: Path) -> set[str]:
    (plays / "lear.txt").unlink()
    return set()


@pytest.mark.parametrize("change", [_edit, _edit_unseen, _add, _remove])
def test_changed_file_makes_its_partition_and_the_mixture_stale(
    workspace: Workspace, plays: Path, change: Callable[[Path], set[str]]
) -> None:
    stale = change(plays) | {"mix/mixed_dataset"}
    assert _stale(workspace) == stale
    assert _build_all(workspace) == stale
    assert _stale(workspace) == set()


CACHES = {f"plays/numpy_cache/{play}" for play in PLAYS}
TOKENIZED = {f"plays/tokenized_arrow/{play}" for play in PLAYS}


@pytest.mark.parametrize(
    ("keys", "stale"),
    [
        ({"verify": "full"}, set()),
        ({"description": "Three plays.", "owners": ["team:stage"]}, set()),
        ({"separator": " "}, set()),
        ({"splits": {"validation": 0.001}}, CACHES | {"mix/mixed_dataset"}),
        ({"append_eos": False}, TOKENIZED | CACHES | {"mix/mixed_dataset"}),
        ({"dtype": "int32"}, TOKENIZED | CACHES | {"mix/mixed_dataset"}),
    ],
)
@pytest.mark.usefixtures("plays")
def test_changed_declaration_makes_affected_artifacts_stale(workspace: Workspace, keys: dict[str, Any], stale: set[str]) -> None:
    assert _stale(workspace, **keys) == stale
    assert _build_all(workspace, **keys) == stale
    assert _build_all(workspace) == set()  # the versions from before are still there, and their artifacts are flipped back
    assert _stale(workspace) == set()


@pytest.mark.usefixtures("plays")
def test_another_tokenizer_makes_all_but_raw_artifacts_stale_regardless_of_its_location(workspace: Workspace) -> None:
    copied = workspace.data / "tk" / "gpt2"
    for file in GPT2.iterdir():
        write_text(copied / file.name, file.read_bytes())
    assert _stale(workspace, tokenizer="tk/gpt2") == set()
    write_text(copied / "notes.txt", "another content")
    assert _stale(workspace, tokenizer="tk/gpt2") == TOKENIZED | CACHES | {"mix/mixed_dataset"}
