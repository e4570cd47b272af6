"""The documentation site: it builds without a broken link, and lists every page and every exported name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs.site import LLMS, configuration, llms_text, pages
from tests.support import REPOSITORY

DOCS = REPOSITORY / "docs"


def test_site_builds_without_broken_links(site: Path) -> None:
    for _, _, file in pages(configuration()["nav"]):
        assert (site / file).with_suffix(".html").is_file()
    assert (site / LLMS).read_text(encoding="utf-8") == llms_text()
    reference = (site / "reference" / "datasets.html").read_text(encoding="utf-8")
    assert 'id="phyagi_assets.datasets.load_mixture"' in reference


def test_broken_link_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("[gone](nowhere.md)\n", encoding="utf-8")
    config = "site_name: x\nvalidation: {links: {not_found: warn}}\n"
    (tmp_path / "mkdocs.yml").write_text(config, encoding="utf-8")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    found = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert found.returncode == 1
    assert "nowhere.md" in found.stderr


def test_every_page_is_in_the_navigation() -> None:
    listed = {file for _, _, file in pages(configuration()["nav"])}
    assert {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} == listed


@pytest.mark.torch
@pytest.mark.parametrize(("page", "package"), [("datasets.md", "phyagi_assets.datasets"), ("reading.md", "phyagi_assets.reading")])
def test_reference_lists_every_exported_name(page: str, package: str) -> None:
    from importlib import import_module

    listed = re.findall(r"^::: (\S+)$", (DOCS / "reference" / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(f"{package}.{name}" for name in import_module(package).__all__)


def test_list_for_programs_has_every_page_with_its_first_paragraph() -> None:
    text = llms_text()
    assert all(f"]({file.removesuffix('.md')}.html)" in text for _, _, file in pages(configuration()["nav"]))
    assert "[Your own data in five minutes](quickstart.html): This page leads from a folder of JSON Lines to batches of token ids." in text
    headings = re.findall("^## (.*)$", text, re.MULTILINE)
    assert (headings[0], headings[-1], len(set(headings))) == ("Start", "Optional", len(headings))
