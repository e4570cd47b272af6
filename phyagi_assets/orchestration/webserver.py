"""Dagster's web server with reports: ``/reports/NAME`` is the page that ``phyagi-assets report`` writes, at the address of the UI.

Each request writes the page again, so it shows the published artifacts, and building artifacts does not wait for it. The command runs as
a process of its own, because the report of a large corpus takes more memory and time than a web server should. One runs at a time.

``python -m phyagi_assets.orchestration.webserver`` takes the options of ``dagster-webserver``.
"""

import html
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import dagster_webserver.app
from dagster_webserver.cli import main
from dagster_webserver.webserver import DagsterWebserver
from sqlalchemy.exc import DatabaseError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from phyagi_assets.orchestration.databases import records_problem
from phyagi_assets.orchestration.server_log import shorten_failures
from phyagi_assets.orchestration.sqlite import share_databases
from phyagi_assets.settings import Settings

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""The page contains text of a corpus, so browsers must not run its scripts."""
_one_at_a_time = threading.Lock()


def report(request: Request) -> Response:
    """Answer with the report of a corpus or a mixture, or with the reason why there is none."""
    name = str(request.path_params["name"])
    if not isinstance(Settings.resolve().store, Path):
        return _refusal(name, f"The store is in a bucket. Write the report with: phyagi-assets report {name} -o report.html")
    with _one_at_a_time, tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        command = [sys.executable, "-m", "phyagi_assets", "report", "--quiet", "-o", str(page), "--", name]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        if done.returncode == 0:
            return HTMLResponse(page.read_bytes(), headers=_HEADERS)
    return _refusal(name, done.stderr)


def _refusal(title: str, reason: str, status: int = 404) -> Response:
    page = f'<!doctype html><title>{html.escape(title)}</title><pre style="white-space: pre-wrap">{html.escape(reason)}</pre>'
    return HTMLResponse(page, status, headers=_HEADERS)


def _without_records(_request: Request, problem: Exception) -> Response:
    """Answer with the reason why Dagster's databases cannot be used, as when the disk is full."""
    found = " ".join(str(getattr(problem, "orig", problem)).split())
    return _refusal("Dagster", records_problem(os.environ["DAGSTER_HOME"], found), 503)


class Webserver(DagsterWebserver[Any, Any]):
    """Dagster's web server with one more route, and with a message while its databases cannot be used."""

    def create_asgi_app(self, **options: Any) -> Starlette:
        """Return the application."""
        app: Starlette = super().create_asgi_app(**options)
        app.add_exception_handler(DatabaseError, _without_records)
        return app

    def build_routes(self) -> Any:
        """Return the routes, with reports before the UI, which answers to every other address."""
        routes = super().build_routes()  # type: ignore[no-untyped-call]
        reports = Route("/reports/{name:str}", report)
        return [Mount(self._app_path_prefix, routes=[reports]), *routes] if self._app_path_prefix else [reports, *routes]


if __name__ == "__main__":
    share_databases()
    shorten_failures()
    vars(dagster_webserver.app)[DagsterWebserver.__name__] = Webserver
    main()  # type: ignore[no-untyped-call]
