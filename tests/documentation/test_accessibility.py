"""Pages of the site, and a report, have no serious finding of axe, in light and dark colors.

The tests need Chromium, and npm, which installs axe once into pytest's cache.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.chromium import Page, open_chromium
from phyagi_assets.cli.render_page import page_of
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.inspection.overview import overview
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare, declare_corpus, write_jsonl

pytestmark = [
    pytest.mark.skipif(shutil.which("chromium") is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine"),
    pytest.mark.xdist_group("accessibility"),
]
AXE = "4.14.1"
DESKTOP = "--blink-settings=primaryHoverType=2,availableHoverTypes=2"
"""Option by which the browser has a mouse: the site lets the keyboard reach code that scrolls where there is one."""
PAGES = ("index.html", "command.html", "training.html", "reference/reading.html", "tutorial.html")
"""One page of each kind: an overview, options with consoles, prose with tables and code, signatures, a notebook with outputs."""
RUN = """
axe.run({resultTypes: ["violations"]}).then(found => JSON.stringify(
  found.violations.filter(of => ["serious", "critical"].includes(of.impact))
    .map(of => `${of.id}: ${of.nodes.length}, such as ${of.nodes[0].html.slice(0, 200)}: ${of.nodes[0].failureSummary}`)))"""

IS_DARK = "Math.max(...getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)) < 100"


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    """The script of axe."""
    folder = request.config.cache.mkdir(f"axe-{AXE}")
    script: Path = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), f"axe-core@{AXE}"]
        if subprocess.run(install, check=False).returncode:
            pytest.skip("npm cannot install axe-core here")
    return script.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, open_chromium(Path(profile), DESKTOP) as page:
        yield page


def findings(browser: Page, page: Path, axe: str) -> dict[str, list[str]]:
    """Return the serious findings of axe by color scheme."""
    browser.call("Page.navigate", url=page.as_uri())
    deadline = time.monotonic() + 60
    while not browser.evaluate(f"document.readyState === 'complete' && location.href === {json.dumps(page.as_uri())}"):
        assert time.monotonic() < deadline, "the page does not load"
        time.sleep(0.1)
    browser.evaluate(f"{axe}; document.head.insertAdjacentHTML('beforeend', '<style>* {{transition: none !important}}</style>')")
    found = {}
    for scheme, theme in (("light", "default"), ("dark", "slate")):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        browser.evaluate(f"document.body.dataset.mdColorScheme = '{theme}'")  # what the site's switch does
        assert browser.evaluate(IS_DARK) == (scheme == "dark")
        found[scheme] = json.loads(browser.evaluate(RUN))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_page_of_the_site_has_no_serious_finding(page: str, browser: Page, site: Path, axe: str) -> None:
    assert findings(browser, site / page, axe) == {"light": [], "dark": []}


def test_tables_that_scroll_on_a_phone_can_be_reached_by_the_keyboard(browser: Page, site: Path, axe: str) -> None:
    browser.resize(390, 844)
    assert findings(browser, site / "order.html", axe) == {"light": [], "dark": []}
    assert browser.evaluate("[...document.querySelectorAll('.md-typeset__scrollwrap')].some(region => region.tabIndex === 0)")
    browser.call("Emulation.clearDeviceMetricsOverride")


def test_report_has_no_serious_finding_and_fits_a_phone(browser: Page, workspace: Workspace, tmp_path: Path, axe: str) -> None:
    write_jsonl(workspace.data / "raw" / "notes.jsonl", ["A note that is long enough to be seen. " * 9, "twice", "twice"] * 5)
    long = "notes_" * 10
    corpus = declare_corpus(workspace.data, long, "raw/notes.jsonl", description="Notes.")
    declare(workspace.data, "mixtures", name="mine", seq_len=16, datasets=[{"corpus": long, "weight": 2}])
    catalog = load_catalog(workspace.data)
    build_mixture(catalog.mixtures["mine"], catalog.corpora, {long: list(build(corpus, workspace))}, workspace)
    for name in ("mine", long):
        page = tmp_path / f"{name}.html"
        page.write_text(page_of(overview(name, workspace.store, workspace.store.root, catalog)), encoding="utf-8")
        assert findings(browser, page, axe) == {"light": [], "dark": []}
        browser.resize(390, 844)
        assert browser.evaluate("document.documentElement.scrollWidth") <= 390
        browser.call("Emulation.clearDeviceMetricsOverride")
