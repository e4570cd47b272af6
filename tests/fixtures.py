"""Fixtures: folders for tests, and tokenizers whose conformance run is shared by all tests."""

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from docs.site import build as build_site
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.orchestration.instance import open_instance
from phyagi_assets.settings import Settings
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers import conformance
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.identity import Identities
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.hub import Hub, served, worker
from tests.imports import ImportOfDatasets
from tests.project import Project, declare_plays, opened_project
from tests.ray_nodes import RayNodes, ray_nodes
from tests.s3 import S3Server, s3_server
from tests.support import GPT2, REPOSITORY, build, copy_data, copy_store, declare_corpus, made_once, sampled_code_points


@pytest.fixture(scope="session")
def prepared_store(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A store with only the GPT-2 tokenizer, the report of its conformance run, and an instance of Dagster without records.

    All test processes share it. The run compares the code points of `sampled_code_points`, and all code points with ``--soak``. pytest's
    cache keeps the store for the next session, as long as nothing that makes it changes.
    """
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    soak = bool(request.config.getoption("soak"))
    kept = cache.mkdir(f"prepared-{_digest_of_preparation()}{'-soak' * soak}") / "store" if cache else None

    def make(folder: Path) -> None:
        if kept and kept.exists():
            shutil.copytree(kept, folder / "store", symlinks=True)
            return
        store = LocalStore(folder / "store")
        with pytest.MonkeyPatch.context() as patch:
            if not soak:
                patch.setattr(conformance, "_code_point_groups", lambda: [sampled_code_points()])
            corpus = declare_corpus(folder / "data", "any", "any.txt")
            EnginePool().engines(prepare_tokenizer(corpus, Identities(folder / "data"), store), store)
        with open_instance(Settings(data=folder / "data", store=store.root)):
            pass  # its databases have their tables now
        if kept:
            with tempfile.TemporaryDirectory(dir=kept.parent) as draft, suppress(OSError):  # another session may have been faster
                shutil.copytree(folder / "store", Path(draft) / "store", symlinks=True).rename(kept)

    return made_once(tmp_path_factory, "prepared", make) / "store"


def _digest_of_preparation() -> str:
    """Hash everything that the prepared store depends on: the code that makes it, the tokenizer and the engines' versions."""
    package = REPOSITORY / "phyagi_assets"
    code = [*(package / "tokenizers").glob("*.py"), *(package / "store").glob("*.py"), package / "steps" / "encoding.py"]
    code += [package / "orchestration" / name for name in ("instance.py", "sqlite.py")]
    made_with = ("tokenizers", "transformers", "gigatoken", "dagster")
    digest = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in made_with).encode())
    for file in sorted([*code, REPOSITORY / "tests" / "support.py", *GPT2.iterdir()]):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@pytest.fixture(scope="session")
def engines() -> EnginePool:
    """Engines that are loaded once per test process."""
    return EnginePool(small=0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """An empty data folder."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def workspace(data: Path, prepared_store: Path, engines: EnginePool) -> Workspace:
    """A data folder and a store in which the GPT-2 tokenizer is prepared."""
    copy_store(prepared_store, data / "store")
    return Workspace(data=data, store=LocalStore(data / "store"), engines=engines)


@pytest.fixture
def few_code_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limit conformance runs to Latin letters and a few random strings, which takes a moment instead of several seconds."""
    monkeypatch.setattr(conformance, "_code_point_groups", lambda: [range(0x300)])
    monkeypatch.setattr(conformance, "AWKWARD", 400)


@pytest.fixture
def instance(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    with open_instance(Settings(data=workspace.data, store=workspace.store.root)) as opened:
        yield opened


@pytest.fixture
def project(workspace: Workspace, instance: dg.DagsterInstance) -> Project:
    """A mixture of three plays, one partition per play."""
    declare_plays(workspace.data)
    return Project(workspace=workspace, instance=instance)


@pytest.fixture
def built_project(data: Path, prepared_store: Path, engines: EnginePool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The same mixture, built and recorded once for all tests, and copied for each."""

    def make(folder: Path) -> None:
        copy_store(prepared_store, folder / "store")
        declare_plays(folder)
        with opened_project(folder, engines) as project:
            assert not project.bring_up_to_date().failed

    with opened_project(copy_data(made_once(tmp_path_factory, "built-project", make), data), engines) as project:
        yield project


@pytest.fixture
def built_plays(data: Path, prepared_store: Path, engines: EnginePool, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The same mixture, built once for all tests without records of Dagster, and copied for each; versions are linked."""

    def make(folder: Path) -> None:
        declare_plays(folder)
        workspace = Workspace(data=folder, store=LocalStore(copy_store(prepared_store, folder / "store")), engines=engines)
        catalog = load_catalog(folder)
        partitions = {"plays": list(build(catalog.corpora["plays"], workspace))}
        assert not build_mixture(catalog.mixtures["mix"], catalog.corpora, partitions, workspace).failures

    copy_data(made_once(tmp_path_factory, "built-plays", make), data)
    return Workspace(data=data, store=LocalStore(data / "store"), engines=engines)


@pytest.fixture(scope="session")
def import_of_datasets(tmp_path_factory: pytest.TempPathFactory) -> ImportOfDatasets:
    """The result of a script that imports the datasets and logs a message. The script runs once for all tests."""
    return ImportOfDatasets.read(made_once(tmp_path_factory, "import-of-datasets", ImportOfDatasets.make))


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation site, which builds without a broken link."""
    return made_once(tmp_path_factory, "site", build_site)


@pytest.fixture(scope="session")
def _s3_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "seaweed") as server:
        yield server


@pytest.fixture
def s3(_s3_running: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An empty bucket that the environment variables select."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in _s3_running.environment.items():
        monkeypatch.setenv(name, value)
    _s3_running.delete()
    return _s3_running


_RUNNING = pytest.StashKey[dict[str, tuple[Any, ExitStack]]]()
"""Services that keep running from one module to the next, as long as their tests need them, by the name of their fixture."""


def _kept_running(config: pytest.Config, name: str, start: Callable[[], AbstractContextManager[Any]]) -> Any:
    """Return what a fixture has started, which outlives the module."""
    running = config.stash.setdefault(_RUNNING, {})
    if name not in running:
        until_the_end = ExitStack()
        running[name] = until_the_end.enter_context(start()), until_the_end
    return running[name][0]


@pytest.fixture(scope="module")
def nodes(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, _s3_running: S3Server) -> RayNodes:
    """A Ray cluster of two nodes with credentials for the bucket: idle, it takes a twentieth of a core."""
    return _kept_running(pytestconfig, "nodes", lambda: ray_nodes(tmp_path_factory.mktemp("nodes"), _s3_running.environment))


@pytest.fixture(scope="session")
def hub_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the beginnings of the sample repositories. `tests.distribution` keeps the files that use it in one process."""
    with served(tmp_path_factory.mktemp("hub"), plays=4) as hub:
        yield hub


@pytest.fixture(scope="module")
def hub_client(pytestconfig: pytest.Config, hub_running: Hub, tmp_path_factory: pytest.TempPathFactory) -> ProcessPoolExecutor:
    """A process that uses the local Hub; importing its clients takes seconds."""
    return _kept_running(pytestconfig, "hub_client", lambda: worker(hub_running.environment(tmp_path_factory.mktemp("hub-store"))))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """End what the first test of the next module does not use. Within a module, fixtures keep what they have returned."""
    if nextitem is not None and nextitem.path == item.path:
        return
    running = item.config.stash.get(_RUNNING, {})
    for name in set(running) - set(getattr(nextitem, "fixturenames", ())):
        running.pop(name)[1].close()
