"""Where tests run: in memory if possible, examples in docstrings in a folder of their own, and without torch if asked for."""

import os
import shutil
import tempfile
from collections.abc import Generator
from multiprocessing.util import Finalize
from pathlib import Path

import pytest

from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE

pytest_plugins = ["tests.distribution"]

_MEMORY, _ENOUGH = Path("/dev/shm"), 6 << 30
_INTERPRETER = str(Path(__file__).parent / "tests" / "interpreter")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the environment of the processes that are started from here on.

    pytest's temporary folders are kept in memory where there is room: Dagster's databases and the store wait for a disk at every event and
    file. The system's temporary folder is one that is deleted at the end, with what killed processes left in it.
    """
    if _INTERPRETER not in (paths := os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_INTERPRETER, *paths]))
    if os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ENOUGH:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))
    if not hasattr(config, "workerinput"):  # such a process has that of the process that distributes the tests
        folder = Path(tempfile.mkdtemp(prefix="tests-"))
        folder.chmod(0o755)  # tests act as other users in folders of it
        Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-200)  # after `multiprocessing` has deleted its folder in it
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--without-torch", action="store_true", help="Skip tests that need torch, in an environment without it.")


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out modules without examples, which each test process would only import; tests/test_layering.py imports them all."""
    if collection_path.suffix != ".py" or collection_path.name.startswith(("test_", "conftest")):
        return None
    return True if ">>>" not in collection_path.read_text(encoding="utf-8") else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip modules that cannot be imported without torch, if asked for."""
    report = yield
    if collector.config.getoption("--without-torch") and report.failed and "torch" in str(report.longrepr):
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, "Skipped: needs torch")
    return report


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("torch") and item.config.getoption("--without-torch"):
        pytest.skip("needs torch")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(request: pytest.FixtureRequest) -> None:
    if isinstance(request.node, pytest.DoctestItem):
        monkeypatch, folder = request.getfixturevalue("monkeypatch"), request.getfixturevalue("tmp_path")
        for name in (DATA_VARIABLE, STORE_VARIABLE):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(folder)
        if any(package in request.node.name for package in ("datasets.mix", "datasets.loss_ledger", "reading.mix")):
            from tests.reading.mixtures import publish_demo

            publish_demo(folder / "data" / "store")
