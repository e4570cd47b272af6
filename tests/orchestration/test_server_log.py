"""The log and the pages of the UI while its databases cannot be used, or a tick fails."""

import logging
import sys
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._utils.error import serializable_error_info_from_exc_info
from sqlalchemy.exc import OperationalError
from starlette.routing import Route
from starlette.testclient import TestClient

from phyagi_assets.errors import SourceError
from phyagi_assets.orchestration.server_log import shorten_failures
from phyagi_assets.orchestration.webserver import Webserver

FULL = OperationalError("SELECT 1", {}, Exception("disk I/O error"))
RECORDS = "/home: Dagster's records cannot be kept: disk I/O error, as when the disk is full; what was published is kept"


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DAGSTER_HOME", "/home")
    before = logging.getLogRecordFactory()
    shorten_failures()
    yield
    logging.setLogRecordFactory(before)


def raised(problem: Exception, because: Exception | None) -> None:
    try:
        raise problem from because
    except type(problem):
        logging.getLogger("daemon").exception("a tick of %s failed", "news")
        logging.getLogger("daemon").error("no heartbeat: %s", serializable_error_info_from_exc_info(sys.exc_info()))


@pytest.mark.parametrize(
    ("problem", "because", "found"),
    [
        (dg.Failure("news: s3://raw/ cannot be reached"), SourceError("s3://raw/"), "news: s3://raw/ cannot be reached"),
        (RuntimeError("the sensor"), SourceError("s3://raw/ refuses"), "s3://raw/ refuses"),
        (RuntimeError("[SQL: SELECT 1]"), FULL, RECORDS),
    ],
)
def test_failures_for_the_user_are_logged_without_tracebacks(
    caplog: pytest.LogCaptureFixture, problem: Exception, because: Exception, found: str
) -> None:
    raised(problem, because)
    assert [record.getMessage() for record in caplog.records] == [f"a tick of news failed: {found}", f"no heartbeat: {found}"]
    assert "Traceback" not in caplog.text


def test_traceback_of_any_other_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    raised(KeyError("a fault"), None)
    first, second = caplog.records
    assert first.exc_info
    assert "Stack Trace" in second.getMessage()


def test_web_server_reports_why_its_databases_cannot_be_used() -> None:
    class FullDisk(Webserver):
        def build_routes(self) -> list[Route]:
            return [Route("/runs", self.fail)]

        def fail(self, _request: object) -> None:
            raise FULL

    answer = TestClient(FullDisk(None).create_asgi_app()).get("/runs")
    assert answer.status_code == 503
    assert RECORDS.replace("'", "&#x27;") in answer.text
