"""A page of a headless Chromium, driven through its debugging protocol."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

_TO_ANSWER = 60.0
"""Longest wait for a page, in seconds."""
_QUIET = 2.0
"""Time for which the text of a page does not change once everything is loaded, in seconds."""


class Page:
    """A page of a headless Chromium."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection, self._calls = connection, 0

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the debugging protocol, and return its result."""
        self._calls += 1
        self._connection.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=_TO_ANSWER))).get("id") != self._calls:
            pass  # an event of the page
        return answer["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page; that of a promise once it is fulfilled."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)["result"].get("value")

    def resize(self, width: int, height: int, pixels: float = 1) -> None:
        """Set the size of the page, in CSS pixels, and the number of pixels of a picture per CSS pixel."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=pixels, mobile=False)

    def open(self, url: str, shown: str) -> None:
        """Open an address, and wait until the page shows a text and changes no more.

        Parameters
        ----------
        url
            The address.
        shown
            Regular expression that the text of the page matches when it is complete.
        """
        self.call("Page.navigate", url=url)
        self.wait(shown)

    def wait(self, shown: str) -> None:
        """Wait until the text of the page matches a regular expression and changes no more."""
        deadline = time.monotonic() + _TO_ANSWER
        text, since = "", time.monotonic()
        while not (self.evaluate(f"RegExp({json.dumps(shown)}).test(document.body.innerText)") and time.monotonic() - since > _QUIET):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the page does not show {shown}, but: {text}")
            time.sleep(0.3)
            found = re.sub(r"\d+", "", str(self.evaluate("document.body.innerText")))  # the time until the next refresh counts down
            text, since = found, since if found == text else time.monotonic()

    def click(self, text: str) -> None:
        """Press the button with a text."""
        found = self.evaluate(
            f"(button => button ? (button.click(), true) : false)"
            f"([...document.querySelectorAll('button')].find(button => button.innerText.trim() === {json.dumps(text)}))"
        )
        if not found:
            raise LookupError(f"the page has no button {text!r}")

    def picture(self, clip: Mapping[str, float] | None = None, **options: Any) -> bytes:
        """Return a picture of the page, or of a part of it, as PNG or in the format that the options give."""
        part = {"clip": {**clip, "scale": 1}} if clip else {}
        return base64.b64decode(self.call("Page.captureScreenshot", **{"format": "png", **part, **options})["data"])


@contextmanager
def open_chromium(profile: Path, *options: str) -> Iterator[Page]:
    """Start a Chromium with its own profile and further options, and end it afterwards."""
    command = [shutil.which("chromium") or "google-chrome", "--headless", "--no-sandbox", "--no-first-run", "--remote-debugging-port=0"]
    process = subprocess.Popen([*command, *options, f"--user-data-dir={profile}", "about:blank"], stderr=subprocess.DEVNULL)
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
