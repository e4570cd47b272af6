"""Folders of a store on another disk, behind a link, and links that lead in a circle."""

import shlex
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.datasets import DatasetProviderConfig, LMDatasetProvider, load_mixture
from phyagi_assets.declarations import load_catalog
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.pipeline.mixture import build_mixture
from phyagi_assets.pipeline.step import Workspace
from tests.support import build, declare, declare_corpus, write_jsonl


def run(words: str, data: Path) -> Result:
    return CliRunner().invoke(main, [*shlex.split(words), "--data", str(data)], env={"COLUMNS": "200"})


@pytest.fixture
def built(workspace: Workspace) -> Path:
    """A data folder whose corpus and mixture are built."""
    write_jsonl(workspace.data / "raw" / "a.jsonl", [f"The first corpus, document {i}." for i in range(20)])
    declare_corpus(workspace.data, "first", "raw/*.jsonl")
    declare(workspace.data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "first"}])
    catalog = load_catalog(workspace.data)
    build(catalog.corpora["first"], workspace)
    build_mixture(catalog.mixtures["mix"], catalog.corpora, {"first": ["all"]}, workspace)
    return workspace.data


def test_corpus_moved_elsewhere_and_linked_reads_as_before(built: Path, tmp_path: Path) -> None:
    store = built / "store"
    words = ["inspect first", "inspect mix", "explain mix 0 --count 5", "remove first --match 'document 7' --dry-run", "check"]

    def shown() -> dict[str, str]:
        return {each: run(each, built).output.replace(str(tmp_path / "big"), str(store)) for each in words}

    before, samples = shown(), [sample["input_ids"].tolist() for sample in load_mixture("mix", store=store).train]
    assert "The first corpus, document" in before["explain mix 0 --count 5"]
    (tmp_path / "big").mkdir()
    shutil.move(store / "first", tmp_path / "big" / "first")
    (store / "first").symlink_to(tmp_path / "big" / "first")
    assert shown() == before
    assert [sample["input_ids"].tolist() for sample in load_mixture("mix", store=store).train] == samples


LOOPS = {
    ".": "check",
    "store": "materialize",
    "corpora": "check",
    "corpora/first.yaml": "check",
    "corpora/first.removed.jsonl": "remove first --match x",
    "raw": "check",
    "raw/a.jsonl": "check",
    "tk": "check",
    "store/mix": "explain mix 0",
    "store/first": "inspect first",
    "store/.locks": "materialize",
    "store/.staging": "materialize",
}


@pytest.mark.parametrize(("where", "words"), LOOPS.items(), ids=LOOPS)
def test_link_in_a_loop_is_a_plain_error(workspace: Workspace, where: str, words: str) -> None:
    data = workspace.data
    write_jsonl(data / "raw" / "a.jsonl", ["a document"] * 20)
    declare_corpus(data, "first", "raw/*.jsonl", **({"tokenizer": "tk"} if where == "tk" else {}))
    declare(data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "first"}])
    path = data / where
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(path)
    done = run(words, data)
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code in (1, 2)
    assert "error: " in done.output
    assert str(path) in done.output or "materialize it with" in done.output


def test_link_in_a_loop_is_a_plain_error_of_the_library(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(PhyagiAssetsError, match="neither a path nor a mixture"):
        load_mixture(loop)
    with pytest.raises(PhyagiAssetsError, match="materialize it with"):
        load_mixture("mix", store=loop)
    with pytest.raises(FileNotFoundError, match="loop"):
        LMDatasetProvider.from_config(DatasetProviderConfig(cache_dir=loop)).get_train_dataset()
