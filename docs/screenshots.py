"""Take the pictures of Dagster's UI in the documentation: ``make screenshots``, which needs Chromium and takes some minutes.

The demo's data are added in three parts, so that the plots over time have several points. ``python -m docs.screenshots FOLDER`` writes a
picture of every page to a folder, in two sizes, on a light and on a dark background; those show whether the UI is as it should be.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from docs.chromium import Page, open_chromium
from phyagi_assets.settings import Settings
from tests.orchestration.live import live_dagster

PICTURES = Path(__file__).with_name("ui")
DATA = Path(__file__).parents[1] / "data"
PARTS = {"shakespeare": (4, 8, 12), "factbook": (2, 4, 5)}
"""Number of source files of each corpus at each of the runs."""
GROUPS = ("shakespeare", "factbook", "demo")
LINEAGE = "/asset-groups~{}?expanded={}".format(
    *(quote(text, safe="") for text in (" or ".join(f'group:"{of}"' for of in GROUPS), ",".join(f"global@global:{of}" for of in GROUPS)))
)
FACETS = ["checks", "status", "kind-tag", "automation", "partitions"]
"""Rows of each asset in the lineage; all but the time of the latest event."""
MARGIN = 12
BOX = """
(() => {
  const boxes = [...document.querySelectorAll("svg foreignObject")].map(node => node.getBoundingClientRect());
  const [x, y] = [Math.min(...boxes.map(box => box.left)), Math.min(...boxes.map(box => box.top))];
  return {x, y, width: Math.max(...boxes.map(box => box.right)) - x, height: Math.max(...boxes.map(box => box.bottom)) - y};
})()"""
"""Find the rectangle that the groups and assets of the lineage cover."""
STORE = r"""
(() => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode;
    const shown = text.data.replace(/(\/[\w.-]+)+\/store\//g, "/data/store/");
    if (shown !== text.data) text.data = shown;
  }
})()"""
"""Show the store in a folder of a usual name, instead of in the temporary folder of the demo."""
WIDTHS = {1440: 1100, 1024: 1100}
"""Width and height of a page, in CSS pixels."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A page to take a picture of."""

    path: str
    shown: str
    """Regular expression that the text of the page matches when it is complete."""
    click: str = ""
    """Text of a button that is pressed first."""
    height: int | None = None
    """Height of the picture in the documentation, in CSS pixels; None if the documentation does not show it."""


SHOTS = {
    "timeline": Shot(path="/overview/activity/timeline", shown="materialize"),
    "catalog": Shot(path="/assets", shown="mixed_dataset[\\s\\S]*All"),
    "lineage": Shot(path=LINEAGE, shown="(Passed[\\s\\S]*){5}"),
    "raw-dataset": Shot(path="/assets/shakespeare/raw_dataset?view=overview", shown="fingerprint"),
    "tokenized-arrow": Shot(path="/assets/shakespeare/tokenized_arrow?view=overview", shown="fingerprint"),
    "corpus": Shot(path="/assets/factbook/numpy_cache?view=overview", shown="fingerprint", height=1400),
    "growth": Shot(path="/assets/shakespeare/numpy_cache?view=overview", shown="corpus tokens", click="Plots", height=1150),
    "partitions": Shot(path="/assets/shakespeare/numpy_cache?view=partitions", shown="twelfth_night"),
    "checks": Shot(path="/assets/shakespeare/tokenized_arrow/?view=checks", shown="within_limits"),
    "mixture": Shot(path="/assets/demo/mixed_dataset?view=events", shown="fingerprint", height=1400),
    "mixture-overview": Shot(path="/assets/demo/mixed_dataset?view=overview", shown="fingerprint"),
    "report": Shot(path="/reports/demo", shown="How to load it", height=1000),
    "composition": Shot(path="/assets/demo/mixed_dataset?view=overview", shown="share", click="Plots"),
    "runs": Shot(path="/runs", shown="Success", height=480),
    "jobs": Shot(path="/jobs", shown="materialize"),
    "automation": Shot(path="/automation", shown="follow_changes", height=620),
}


@contextmanager
def demo_ui(scratch: Path) -> Iterator[str]:
    """Build the demo in three parts in a temporary folder, start the UI on it, and return its address."""
    command = Path(sys.executable).with_name("phyagi-assets")
    data = scratch / "demo"
    shutil.copytree(DATA, data, ignore=shutil.ignore_patterns("store", "raw"))
    for run in range(3):
        for corpus, counts in PARTS.items():
            for file in sorted((DATA / "raw" / corpus).iterdir())[: counts[run]]:
                (data / "raw" / corpus).mkdir(parents=True, exist_ok=True)
                if not (data / "raw" / corpus / file.name).exists():
                    shutil.copy2(file, data / "raw" / corpus)
        subprocess.run([command, "materialize", "--data", data], check=True)
    with live_dagster(Settings.resolve(data=data), cwd=scratch) as dagster:
        yield dagster.url


def prepare(page: Page, url: str, theme: str) -> None:
    """Set what the UI shows: its colors and those of the reports, and the rows of the assets in the lineage."""
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme.lower()}])  # for the reports
    page.open(f"{url}/server_info", "dagster_version")
    stored = {"dagster-theme": theme, "asset-node-facets": FACETS}
    for name, value in stored.items():
        page.evaluate(f"localStorage.setItem({json.dumps(name)}, {json.dumps(json.dumps(value))})")


def take(page: Page, url: str, shot: Shot, size: tuple[int, int], **options: Any) -> bytes:
    """Return a picture of a page."""
    is_lineage = shot.path == LINEAGE
    page.resize(2200, 1000) if is_lineage else page.resize(*size)
    page.open(url + shot.path, shown=shot.shown)
    if shot.click:
        page.click(shot.click)
        page.wait(r"^(?![\s\S]*Loading)")
    page.evaluate(STORE)
    return page.picture(_box(page) if is_lineage else None, **options)


def _box(page: Page) -> Mapping[str, float]:
    box = page.evaluate(BOX)
    return {"x": box["x"] - MARGIN, "y": box["y"] - MARGIN} | {side: box[side] + 2 * MARGIN for side in ("width", "height")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="folder for pictures of every page; by default, those of the documentation")
    parser.add_argument("--ui", help="address of a running UI of the demo; by default, the demo is built and its UI is started")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        if arguments.ui:
            photograph(arguments.ui, Path(scratch), arguments.folder)
        else:
            with demo_ui(Path(scratch)) as url:
                photograph(url, Path(scratch), arguments.folder)


def photograph(url: str, scratch: Path, folder: Path | None) -> None:
    """Take the pictures of the documentation, or those of every page."""
    target = folder or PICTURES
    target.mkdir(parents=True, exist_ok=True)
    with open_chromium(scratch / "profile") as page:
        if folder is None:
            prepare(page, url, "Light")
            for name, shot in SHOTS.items():
                if shot.height or shot.path == LINEAGE:
                    picture = take(page, url, shot, (1440, shot.height or 0), format="webp", quality=80)
                    (target / f"{name}.webp").write_bytes(picture)
            return
        for theme in ("Light", "Dark"):
            prepare(page, url, theme)
            for width, height in WIDTHS.items():
                for name, shot in SHOTS.items():
                    (target / f"{name}-{width}-{theme.lower()}.png").write_bytes(take(page, url, shot, (width, height)))


if __name__ == "__main__":
    main()
