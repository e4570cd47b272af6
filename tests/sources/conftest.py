"""A local Hub for the tests of sources, and a process of clients that use it."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.hub import Hub, served, worker


@pytest.fixture(scope="package")
def hub_running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A Hub with the beginnings of the sample repositories. `tests.distribution` keeps the files that use it in one process."""
    with served(tmp_path_factory.mktemp("hub"), plays=4) as hub:
        yield hub


@pytest.fixture(scope="package")
def hub_client(hub_running: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessPoolExecutor]:
    """A process that uses the local Hub; importing its clients takes seconds."""
    with worker(hub_running.environment(tmp_path_factory.mktemp("library"))) as process:
        yield process
