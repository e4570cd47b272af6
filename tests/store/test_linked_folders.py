"""Store folders that are links to another disk or bind mounts, and links in loops."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.datasets import DatasetProviderConfig, LMDatasetProvider, load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.inspection.integrity import store_problems
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Built, Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
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


def move_and_link(folder: Path, elsewhere: Path) -> None:
    """Move a folder of the store elsewhere, and link it from its old place."""
    elsewhere.mkdir(exist_ok=True)
    shutil.move(folder, elsewhere / folder.name)
    folder.symlink_to(elsewhere / folder.name)


def move_back(folder: Path) -> None:
    real = folder.readlink()
    folder.unlink()
    shutil.move(real, folder)


def test_store_folders_moved_and_linked_are_read_unchanged(built: Path, tmp_path: Path) -> None:
    store, big = built / "store", tmp_path / "big"
    words = ["inspect first", "inspect mix", "explain mix 0 --count 5", "remove first --match 'document 7' --dry-run", "check", "clean"]

    def shown() -> dict[str, str]:  # without white space, because paths are folded, and a table is centered over the paths above it
        return {each: "".join(run(each, built).output.split()).replace(str(big), str(store)) for each in words}

    before, samples = shown(), [sample["input_ids"].tolist() for sample in load_mixture("mix", store=store).train]
    assert "Thefirstcorpus,document" in before[words[2]]
    assert "2of194,12" in before[words[3]]  # the positions at which the mixture shows the document

    def assert_reads_as_before() -> None:
        assert shown() == before
        for named in ("mix", store / "mix" / "mixed_dataset", store / "mix" / "mixed_dataset" / "mixture.json"):
            mixture = load_mixture(named, store=store)
            assert [sample["input_ids"].tolist() for sample in mixture.train] == samples
            assert mixture.tokenizer.is_dir()

    move_and_link(store / "mix", big)
    assert_reads_as_before()
    move_and_link(store / "first", big)
    assert_reads_as_before()
    move_back(store / "mix")
    assert_reads_as_before()


def test_mixture_moved_and_linked_is_reused_and_extended(built: Path, tmp_path: Path) -> None:
    workspace = Workspace(data=built, store=LocalStore(built / "store"))
    mix, big = built / "store" / "mix", tmp_path / "big"

    def plan(at: int | None = None) -> Built:
        catalog = load_catalog(built)
        return build_mixture(catalog.mixtures["mix"], catalog.corpora, {"first": ["all"]}, workspace, at)

    def read() -> list[list[int]]:
        assert not list(store_problems(workspace.store, lambda _: None))
        train = load_mixture("mix", store=workspace.store.root).train
        return [train[i]["input_ids"].tolist() for i in range(4)]

    before = read()
    move_and_link(mix, big)
    assert plan().reused
    declare(built, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "first", "weight": 2}])
    assert not plan(at=4).failures
    assert read() == before
    move_back(mix)
    assert read() == before
    assert plan().reused


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
def test_link_in_a_loop_exits_with_a_user_error(workspace: Workspace, where: str, words: str) -> None:
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


@pytest.mark.parametrize("words", ["check", "plan mix"])
def test_store_that_is_a_link_to_a_missing_disk_is_a_user_error(tmp_path: Path, words: str) -> None:
    data, store = tmp_path / "data", tmp_path / "data" / "store"
    save_byte_tokenizer(data / "tk")
    write_jsonl(data / "raw" / "a.jsonl", ["a document"] * 20)
    declare_corpus(data, "first", "raw/*.jsonl", tokenizer="tk")
    declare(data, "mixtures", name="mix", seq_len=8, datasets=[{"corpus": "first"}])
    store.symlink_to(tmp_path / "disk" / "store")
    done = run(words, data)
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert f"the store {store} is not there: {store} is a link to" in done.output


def test_link_in_a_loop_raises_a_user_error_in_the_library(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(PhyagiAssetsError, match="neither a path nor a mixture"):
        load_mixture(loop)
    with pytest.raises(PhyagiAssetsError, match="loop, which leads nowhere"):
        load_mixture("mix", store=loop)
    with pytest.raises(FileNotFoundError, match="loop"):
        LMDatasetProvider.from_config(DatasetProviderConfig(cache_dir=loop)).get_train_dataset()


def test_check_names_links_in_a_loop(tmp_path: Path) -> None:
    data, store, big = tmp_path / "data", tmp_path / "store", tmp_path / "big"
    for folder in (data / "notes", store / ".locks", big / "plays" / "raw_dataset"):
        folder.mkdir(parents=True)
    (store / "plays").symlink_to(big / "plays")
    (data / "notes" / "here").symlink_to(".")  # a link to its own folder, which is not a loop of links
    for folder in (data / "notes", store, store / ".locks", store / "plays" / "raw_dataset"):
        (folder / "a").symlink_to("b")
        (folder / "b").symlink_to("a")
    done = CliRunner().invoke(main, ["check", "--data", str(data), "--store", str(store)], env={"COLUMNS": "200"})
    assert done.exit_code == 2  # nothing is declared
    for folder in (data / "notes", store, store / ".locks", store / "plays" / "raw_dataset"):
        for name, other in ("ab", "ba"):
            assert done.output.count(f"{folder / name}: is a link in a loop: it leads to {other}") == 1
    assert "9 problems" in done.output
    assert "left alone" not in done.output
    assert "here: is a link" not in done.output


BIND = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh"]
WRITE = """
import sys
from pathlib import Path
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import Manifest
store = LocalStore(Path(sys.argv[1]))
for number in range(2):
    manifest = Manifest.expected("step", code_version=1, inputs={}, settings={"number": number})
    store.publish(store.write("corpus/step/all", manifest, lambda _: manifest))
    found = store.open("corpus/step/all", intact=True)
    assert found and found.fingerprint == manifest.fingerprint
(old,) = (version for version in store.versions() if version.fingerprint != found.fingerprint)
with store.removing() as remove:
    remove(old.address, old.path)
assert not old.path.exists()
"""


def test_folder_of_a_corpus_may_be_a_bind_mount_of_the_same_disk(tmp_path: Path) -> None:
    big, corpus = tmp_path / "big", tmp_path / "store" / "corpus"
    big.mkdir()
    corpus.mkdir(parents=True)
    bind = [*BIND, str(big), str(corpus)]
    if not shutil.which("unshare") or subprocess.run([*bind, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs user namespaces")
    done = subprocess.run([*bind, sys.executable, "-c", WRITE, str(corpus.parent)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (big / "step" / "all").is_symlink()
