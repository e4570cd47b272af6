"""Commands that remove something keep foreign links and files in a store and in a data folder."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from phyagi_assets.cli import main
from phyagi_assets.cli.render import catalog_trees
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.support import build, copy_store, declare, declare_corpus, write_jsonl, write_text

LINKS = [
    (to, level)
    for to in ("another store", "a folder", "nothing")
    for level in ("first/numpy_cache", "first", "first/numpy_cache/.versions")
]
"""Target of the link, and the store folder that it replaces; ``--soak`` tries all pairs."""

EVERYTHING_THAT_REMOVES = (
    "clean --yes --grace 0",
    "clean --old-plans --yes --grace 0",
    "check --discard",
    "remove first --match 'document 7'",
)
"""Tests build afterwards, which also removes: with ``materialize`` in one test and with ``--soak``, else without Dagster, to save time."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "level" in metafunc.fixturenames:
        metafunc.parametrize(("to", "level"), LINKS if metafunc.config.getoption("soak") else LINKS[:1])


def run(words: str, data: Path, store: Path | None = None) -> Result:
    where = ["--data", str(data), *(["--store", str(store)] if store else [])]
    return CliRunner().invoke(main, [*shlex.split(words), *where], env={"COLUMNS": "200"})


def materialize(data: Path) -> None:
    result = run("materialize --jobs 1", data)
    assert "0 failed" in result.output, result.output


def build_all(workspace: Workspace) -> None:
    """Build everything declared like the command ``materialize``, but without Dagster."""
    workspace.store.restore_all()
    workspace.store.remove_abandoned_files()
    catalog = load_catalog(workspace.data)
    keys = {name: list(build(corpus, workspace)) for name, corpus in catalog.corpora.items()}
    for mixture in catalog.mixtures.values():
        build_mixture(mixture, catalog.corpora, keys, workspace)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """A data folder whose store holds superseded, retired, undeclared and published versions, and two plans; tests work on copies."""
    folder = tmp_path_factory.mktemp("built") / "data"
    copy_store(prepared_store, folder / "store")
    workspace = Workspace(data=folder, store=LocalStore(folder / "store"), engines=engines)
    for name in ("a", "b", "c"):
        write_jsonl(folder / "raw" / f"{name}.jsonl", [f"{name}, document {i}." for i in range(20)])
    declare_corpus(folder, "first", "raw/*.jsonl", partition_by="file")
    declare(folder, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "first"}])
    write_text(folder / "text" / "d.txt", "Nobody declares this any more. " * 30)
    undeclared = declare_corpus(folder, "second", "text/*.txt")
    build_all(workspace)
    undeclared.path.unlink()
    write_jsonl(folder / "raw" / "a.jsonl", [f"a, another document {i}." for i in range(20)])
    (folder / "raw" / "c.jsonl").unlink()
    build_all(workspace)
    return folder


def test_retired_partitions_are_not_counted_after_a_build(built: Path) -> None:
    workspace = Workspace(data=built, store=LocalStore(built / "store"))
    catalog = load_catalog(built).select(["first"])
    (published,) = catalog_trees(catalog, workspace.store, {})
    (listed,) = catalog_trees(catalog, workspace.store, {"first": workspace.sources.partitions(catalog.corpora["first"])})
    assert str(published.label).endswith("in 3 partitions")
    assert str(listed.label).endswith("in 2 partitions")


@pytest.fixture
def data(built: Path, tmp_path: Path) -> Path:
    """A copy of the built data folder."""
    return shutil.copytree(built, tmp_path / "data", symlinks=True)


class Planted:
    """Foreign links and files, and the targets of the links."""

    def __init__(self, elsewhere: Path, other_store: Path) -> None:
        self._elsewhere, self._other_store = elsewhere, other_store
        write_text(elsewhere / "folder" / "thesis.txt", "years of work")
        write_text(elsewhere / "file.txt", "a letter")
        self._paths: list[Path] = []

    def put_into(self, folder: Path) -> None:
        """Create one foreign entry of each kind in a folder."""
        targets = {
            "folder": self._elsewhere / "folder",
            "file": self._elsewhere / "file.txt",
            "store": self._other_store,
            "corpus": self._other_store / "first",
            "dangling": self._elsewhere / "nothing",
            "loop": folder / "link-loop",
            "up": folder,
        }
        for kind, target in targets.items():
            self._put_link(folder / f"link-{kind}", target)
        for name in ("mine.txt", ".mine", "train.npy~"):
            self._paths.append(write_text(folder / name, f"{name} of somebody"))
        self._paths.append(write_text(folder / "own" / "deep" / "mine.txt", "mine"))

    def put_version(self, folder: Path, name: str) -> None:
        """Create links, files and a folder that are named like versions."""
        self._put_link(folder / f"{name}@{'0' * 32}", self._elsewhere / "folder")
        self._put_link(folder / f"{name}@{'1' * 32}", next((self._other_store / "first" / "numpy_cache" / ".versions").iterdir()))
        self._paths.append(write_text(folder / f"{name}@{'2' * 32}", "a file"))
        self._paths.append(write_text(folder / f"{name}@{'3' * 32}" / "mine.txt", "a folder"))

    def _put_link(self, path: Path, target: Path) -> None:
        path.symlink_to(target)
        self._paths.append(path)

    def state(self) -> dict[str, str]:
        """Return the state of every foreign entry and of everything that the links point to."""
        there = [path for folder in (self._elsewhere, self._other_store) for path in sorted(folder.rglob("*"))]
        return {str(path): _state(path) for path in (*self._paths, *there)}


def _state(path: Path) -> str:
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return file_digest(path) if path.is_file() else "folder" if path.is_dir() else "gone"


@pytest.fixture
def planted(data: Path, tmp_path: Path) -> Planted:
    shutil.copytree(data / "store", tmp_path / "other", symlinks=True)
    return Planted(tmp_path / "elsewhere", tmp_path / "other")


def folders_of_a_store(store: Path) -> Iterator[Path]:
    """Yield every folder on every level of a store, except for those inside versions and those of Dagster."""
    yield store
    for path in sorted(store.rglob("*")):
        inside = path.relative_to(store).parts
        if path.is_dir() and not path.is_symlink() and ".dagster" not in inside and not any("@" in part for part in inside):
            yield path


@pytest.fixture
def building(data: Path, engines: EnginePool, pytestconfig: pytest.Config) -> Callable[[], None]:
    """Build everything, the last of the commands that remove files."""
    if pytestconfig.getoption("soak"):
        return partial(materialize, data)
    return partial(build_all, Workspace(data=data, store=LocalStore(data / "store"), engines=engines))


def run_everything(data: Path) -> list[Result]:
    done = [run(words, data) for words in EVERYTHING_THAT_REMOVES]
    for result in done:
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return done


def test_removing_commands_keep_foreign_files_on_every_level_of_a_store(data: Path, planted: Planted) -> None:
    (data / "store" / ".transfers" / "gone" / "all").mkdir(parents=True)
    for folder in list(folders_of_a_store(data / "store")):
        planted.put_into(folder)
        if folder.name == ".versions":
            planted.put_version(folder, "a")
    before = planted.state()
    clean, _, check, _ = run_everything(data)
    materialize(data)
    assert planted.state() == before
    assert "removed" in clean.output
    assert clean.output.count("which the store did not make") > 20
    assert "left alone: " in check.output


def test_foreign_files_in_versions_are_kept_together_with_these_versions(
    data: Path, planted: Planted, building: Callable[[], None]
) -> None:
    versions = [path for path in (data / "store").glob("*/*/.versions/*@*") if path.is_dir()]
    for version in versions:
        planted.put_into(version)
        for inner in [path for path in version.iterdir() if path.is_dir() and not path.is_symlink() and path.name != "own"]:
            planted.put_into(inner)
        array = version / "train.npy"
        if array.exists():  # a damaged version
            array.write_bytes(array.read_bytes()[:-1])
    before = planted.state()
    run_everything(data)
    building()
    assert planted.state() == before
    assert all(version.is_dir() for version in versions)


def test_foreign_link_in_place_of_a_store_folder_is_kept_with_its_target(
    data: Path, planted: Planted, tmp_path: Path, building: Callable[[], None], level: str, to: str
) -> None:
    target = {"another store": tmp_path / "other" / level, "a folder": tmp_path / "elsewhere" / "folder", "nothing": tmp_path / "none"}[to]
    place = data / "store" / level
    place.rename(tmp_path / "moved")
    place.symlink_to(target)
    before = planted.state()
    for words in EVERYTHING_THAT_REMOVES:
        run(words, data)
        assert planted.state() == before, words
    with suppress(AssertionError, PhyagiAssetsError):  # whether it builds is another matter
        building()
    after = planted.state()
    assert {path: after[path] for path in before} == before
    assert place.readlink() == target


def test_removing_commands_keep_foreign_files_in_a_data_folder(data: Path, planted: Planted, building: Callable[[], None]) -> None:
    for folder in (data, *(data / name for name in ("corpora", "mixtures", "raw", "text"))):
        planted.put_into(folder)
    (data / "kept.jsonl").touch()
    (data / "corpora" / "first.removed.jsonl").symlink_to(data / "kept.jsonl")
    before = planted.state()
    *_, remove = run_everything(data)
    building()
    assert planted.state() == before
    assert "2 documents recorded" in remove.output, remove.output
    assert (data / "corpora" / "first.removed.jsonl").readlink() == data / "kept.jsonl"
    assert len((data / "kept.jsonl").read_text().splitlines()) == 2
