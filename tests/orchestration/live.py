"""Run the real UI, ``phyagi-assets ui``, on a data folder, and query it by GraphQL as the UI does."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from phyagi_assets.orchestration.instance import dagster_environment
from phyagi_assets.settings import Settings

LAUNCH = """
mutation($assets: [AssetKeyInput!], $tags: [ExecutionTag!]) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "phyagi-assets", repositoryName: "__repository__", jobName: "__ASSET_JOB", assetSelection: $assets}
    runConfigData: {}, executionMetadata: {tags: $tags}
  }) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } }
}"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
TAGS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { tags { key value } } } }"
FAILURES = """
query($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
  ... on ExecutionStepFailureEvent { error { message } } } } } }"""
MATERIALIZATIONS = """
query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset { assetMaterializations(limit: 50) {
  partition tags { key value }
  metadataEntries { label ... on IntMetadataEntry { intValue } ... on TextMetadataEntry { text } ... on PathMetadataEntry { path }
                    ... on MarkdownMetadataEntry { mdStr } } } } } }"""


class LiveDagster:
    """A running server, queried as its UI queries it."""

    def __init__(self, port: int, log: Path) -> None:
        self.url, self._log = f"http://127.0.0.1:{port}", log

    @property
    def log(self) -> str:
        """Return the output of the server so far."""
        return self._log.read_text(encoding="utf-8")

    def query(self, query: str, **variables: Any) -> Any:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            answered = json.load(answer)
        assert "errors" not in answered, answered
        return answered["data"]

    def launch(self, *assets: list[str], partition: str | None = None) -> str:
        """Launch a run, and return its id."""
        tags = [{"key": "dagster/partition", "value": partition}] if partition else []
        launched = self.query(LAUNCH, assets=[{"path": path} for path in assets], tags=tags)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run: str) -> str:
        """Wait for the end of a run, and return its status."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            status = str(self.query(STATUS, id=run)["runOrError"]["status"])
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.3)
        raise TimeoutError("the run did not end")

    def tags(self, run: str) -> dict[str, str]:
        """Return the tags of a run."""
        return {tag["key"]: tag["value"] for tag in self.query(TAGS, id=run)["runOrError"]["tags"]}

    def failures(self, run: str) -> list[str]:
        """Return the errors of the steps of a run that failed."""
        return [event["error"]["message"] for event in self.query(FAILURES, id=run)["logsForRun"]["events"] if event]

    def materializations(self, *path: str) -> list[dict[str, Any]]:
        """Return the materializations of an asset, the latest first."""
        found: list[dict[str, Any]] = self.query(MATERIALIZATIONS, key={"path": path})["assetOrError"]["assetMaterializations"]
        return found


@contextmanager
def live_dagster(settings: Settings, *, cwd: Path) -> Iterator[LiveDagster]:
    """Start the command that serves the UI in a folder, wait until it answers, and kill it with its servers afterwards."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = Path(sys.executable).with_name("phyagi-assets")
    log = settings.store.with_name("server.log")
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [command, "ui", "-p", str(port)],
            cwd=cwd,
            env=dagster_environment(settings),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait(process, port, log)
        yield LiveDagster(port, log)
    finally:
        with suppress(ProcessLookupError):  # they may have ended already
            os.killpg(process.pid, signal.SIGKILL)  # its servers take up to 20 seconds to end by themselves
        process.wait()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"the UI did not come up:\n{log.read_text(encoding='utf-8')[-3000:]}")
