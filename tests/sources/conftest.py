"""A source in S3."""

from collections.abc import Iterator

import pytest

from tests.s3 import S3Server, s3_server


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
