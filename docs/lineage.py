"""Draw docs/lineage.png, the lineage of the demo in Dagster's UI: ``python -m docs.lineage``, which needs Chromium and takes 2 minutes."""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from websockets.sync.client import ClientConnection, connect

from phyagi_assets.settings import Settings
from tests.live import live_dagster

PICTURE = Path(__file__).with_name("lineage.png")
GROUPS = ("shakespeare", "factbook", "demo")
SHOWN = quote(" or ".join(f'group:"{group}"' for group in GROUPS), safe="")
EXPANDED = quote(",".join(f"global@global:{group}" for group in GROUPS), safe="")
FACETS = ["checks", "status", "kind-tag", "automation", "partitions"]
"""Rows of each asset; all but the time of the latest event."""
CHECKED = 5
"""Number of assets that have checks."""
MARGIN = 12
PIXELS = 2
"""Pixels of the picture per CSS pixel."""
BOX = """
(() => {
  const boxes = [...document.querySelectorAll("svg foreignObject")].map(node => node.getBoundingClientRect());
  const [x, y] = [Math.min(...boxes.map(box => box.left)), Math.min(...boxes.map(box => box.top))];
  return {x, y, width: Math.max(...boxes.map(box => box.right)) - x, height: Math.max(...boxes.map(box => box.bottom)) - y};
})()"""
"""Find the rectangle that the groups and assets of the graph cover."""


class Page:
    """A page of a headless Chromium, driven through its debugging protocol."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._calls = connection, 0

    def call(self, method: str, **parameters: Any) -> Any:
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=60))).get("id") != self._calls:
            pass  # an event of the page
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def open(self, url: str, shown: str) -> None:
        """Open an address, and wait until a condition holds for the text of the page."""
        self.call("Page.navigate", url=url)
        deadline = time.monotonic() + 60
        while not self.evaluate(f"(text => {shown})(document.body.innerText)"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{url} does not show {shown}")
            time.sleep(0.5)


@contextmanager
def open_chromium(profile: Path) -> Iterator[Page]:
    command = [shutil.which("chromium") or "google-chrome", "--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0"]
    process = subprocess.Popen([*command, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL)
    try:
        port = profile / "DevToolsActivePort"
        while process.poll() is None and not (port.exists() and "\n" in port.read_text()):
            time.sleep(0.1)
        with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
            target = next(page for page in json.load(answer) if page["type"] == "page")
        with connect(target["webSocketDebuggerUrl"], max_size=None) as connection:
            yield Page(connection)
    finally:
        process.terminate()
        process.wait()


def picture(url: str, profile: Path) -> bytes:
    """Return the picture of the graph, as PNG."""
    with open_chromium(profile) as page:
        page.call("Emulation.setDeviceMetricsOverride", width=2200, height=1000, deviceScaleFactor=PIXELS, mobile=False)
        page.open(f"{url}/server_info", "text.includes('dagster_version')")
        page.evaluate(f"localStorage.setItem('asset-node-facets', '{json.dumps(FACETS)}')")
        page.open(f"{url}/asset-groups~{SHOWN}?expanded={EXPANDED}", f"text.split('Passed').length > {CHECKED}")
        time.sleep(2)  # the graph moves to its place
        box = page.evaluate(BOX)
        clip = {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN, "scale": 1} | {side: box[side] + 2 * MARGIN for side in ("width", "height")}
        return base64.b64decode(page.call("Page.captureScreenshot", format="png", clip=clip)["data"])


def main() -> None:
    command = Path(sys.executable).with_name("phyagi-assets")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        settings = Settings.resolve(data="data", store=Path(scratch, "store"))
        subprocess.run([command, "materialize", "--store", settings.store], check=True)
        with live_dagster(settings, cwd=Path.cwd()) as dagster:
            PICTURE.write_bytes(picture(dagster.url, Path(scratch, "profile")))


if __name__ == "__main__":
    main()
