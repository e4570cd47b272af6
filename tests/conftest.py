"""Setup of the test process, and of the environment of each test."""

import fcntl
import gc
import logging
import os
import warnings
from collections.abc import Generator, Iterator

import hypothesis
import pytest

from phyagi_assets.settings import DATA_VARIABLE, STORE_VARIABLE
from phyagi_assets.tokenizers.conformance_reports import REPORTS_FOLDER_VARIABLE
from tests.forks import share_server
from tests.memory import freeze, use_huge_pages

# Test processes share the cores: more threads in each would spend their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No conformance reports of the user: many tests compare a few code points only, and their reports must not be kept.
os.environ[REPORTS_FOLDER_VARIABLE] = ""

# No deadline: a slow example on a loaded machine is not an error.
hypothesis.settings.register_profile("project", deadline=None, max_examples=30)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=1_000)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", action="store_true", help="Sweep in full where a handful is tried otherwise: every kill, thirty times the examples."
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, whose imports take seconds, except in a process that only distributes the tests."""
    hypothesis.settings.load_profile("soak" if config.getoption("soak") else "project")
    distributes, is_distributed = config.getoption("dist", "no") != "no", hasattr(config, "workerinput")
    if distributes or is_distributed:
        share_server()
    if is_distributed or not distributes:
        config.pluginmanager.import_plugin("tests.fixtures")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Let one test process compile the tests for all, and none look for garbage, of which imports leave little."""
    gc.disable()
    try:
        if not hasattr(session.config, "workerinput"):
            return (yield)
        with (session.config.rootpath / "pyproject.toml").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fcntl.flock(lock, fcntl.LOCK_SH)
            return (yield)
    finally:
        gc.enable()


def pytest_collection_finish(session: pytest.Session) -> None:
    freeze()
    if hasattr(session.config, "workerinput"):
        use_huge_pages()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in (DATA_VARIABLE, STORE_VARIABLE, "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    environment = os.environ
    yield
    os.environ = environment  # noqa: B003 (`datasets` replaces it by a copy, in which nothing would be undone)


@pytest.fixture(autouse=True)
def _lock_of_logging_is_free(request: pytest.FixtureRequest) -> Iterator[None]:
    """Release the lock of `logging` if a test has left it held, as an exception at the recursion limit can: other threads would hang."""
    yield
    lock = logging._lock  # type: ignore[attr-defined]
    while lock._is_owned():
        lock.release()
        warnings.warn(f"{request.node.nodeid} left the lock of logging held", stacklevel=1)
