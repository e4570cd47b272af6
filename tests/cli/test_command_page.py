"""docs/command.md lists every command and option, and shows what the commands print.

``REWRITE_COMMAND=1 pytest tests/cli/test_command_page.py`` writes the tables and the output into the page.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from docs.schemas import FOLDER, schemas
from phyagi_assets.cli import main
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.exact import GIGATOKEN
from tests.command import command
from tests.support import REPOSITORY
from tests.tokenizers.faulty_engines import give_report

PAGE = REPOSITORY / "docs" / "command.md"
REWRITES = bool(os.environ.get("REWRITE_COMMAND"))
SHARED, FOLDERS = ("--json", "--verbose", "--quiet", "--log-file"), ("--data", "--store")
TABLE = re.compile(r"(<!-- options: (?P<name>\w+) -->\n\n)(?P<table>(?:\|.*\n)*)")
SCHEMAS = re.compile(r"(<!-- schemas -->\n\n)((?:\*.*\n)*)")
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
VARYING = (
    (re.compile(r"\b\d{4}-\d\d-\d\d \d\d:\d\d\b"), "2026-11-27 22:10"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    (re.compile(r"\b(?=[a-f]*\d)[0-9a-f]{8}\b"), "0f1e2d3c"),
    (re.compile(r"\d+ s on this machine"), "1 s on this machine"),
    (re.compile(r"(?<=report\.html: )[\d.]+kB"), "10.5kB"),
    (re.compile(r"(?<=versions copied \()[\d.]+kB"), "64kB"),
    (re.compile(r"(?<=gigatoken )[\d.]+"), "0.10.0"),
)


def rows_of(options: list[click.Parameter]) -> str:
    """Return a table of options and arguments, without those of all commands."""
    rows = ["| option | meaning |", "| --- | --- |"]
    for option in options:
        if isinstance(option, click.Option):
            value = "" if option.is_flag else option.make_metavar(click.Context(main)).replace("INTEGER RANGE", "N")
            names = ", ".join(f"`{name}`" for name in sorted(option.opts, key=len, reverse=True))
            default = f" Default: {option.default}." if option.show_default else ""
            help_ = " ".join((option.help or "").split())
            help_ = re.sub(r" *\[default: (.*)\]$", r" Default: \1.", help_)
            rows.append(f"| {names}{f' `{value}`' if value else ''} | {help_}{default} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else ""


def table_of(name: str) -> str:
    if name in ("shared", "folders"):
        chosen = SHARED if name == "shared" else FOLDERS
        return rows_of([option for option in main.commands["status"].params if option.opts[0] in chosen])
    return rows_of([option for option in main.commands[name].params if option.opts[0] not in (*SHARED, *FOLDERS)])


def listed_schemas() -> str:
    return "".join(f"* [`{name}`](schemas/{name}.json)\n" for name in schemas())


def _with_table(found: re.Match[str]) -> str:
    table = table_of(found["name"])
    return found[1] + table + "\n" * bool(table and not found["table"])


def normalised(text: str) -> str:
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


@pytest.fixture
def page() -> str:
    """The page with the tables of the code."""
    text = PAGE.read_text(encoding="utf-8")
    if REWRITES:
        text = TABLE.sub(_with_table, text)
        text = SCHEMAS.sub(lambda found: found[1] + listed_schemas(), text)
        PAGE.write_text(text, encoding="utf-8")
    return text


def test_page_lists_every_command_option_and_schema(page: str) -> None:
    tables = {found["name"]: found["table"] for found in TABLE.finditer(page)}
    assert tables == {name: table_of(name) for name in ("shared", "folders", *main.commands)}
    assert set(re.findall(r"^## (\w+)$", page, re.MULTILINE)) >= set(main.commands)
    (found,) = SCHEMAS.finditer(page)
    assert found[2] == listed_schemas()
    assert all((FOLDER / f"{name}.json").is_file() for name in schemas())


def test_examples_print_what_the_page_shows(page: str, tmp_path: Path, prepared_store: Path) -> None:
    shown: list[str] = []
    for block in BLOCK.findall(page):
        printed = []
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            words = shlex.split(line)
            if words[0] != "phyagi-assets":
                subprocess.run(line, shell=True, cwd=tmp_path, check=True)
                printed.append(f"$ {line}\n")
                continue
            done = command(*words[1:], cwd=tmp_path, COLUMNS="100")
            assert done.returncode == 0, done.stderr
            output = normalised(done.stdout.replace(str(tmp_path), "/home/user"))
            printed.append(f"$ {line}\n{output}\n" if output else f"$ {line}\n")
            if words[1] == "init":  # the first command: the report of the conformance run saves the run
                (corpus,) = load_catalog(tmp_path / "my_data").corpora.values()
                store = LocalStore(tmp_path / "my_data" / "store")
                give_report(corpus, GIGATOKEN.name, tmp_path / "my_data", store, LocalStore(prepared_store))
        shown.append("".join(printed))
    if REWRITES:
        blocks = iter(shown)
        PAGE.write_text(BLOCK.sub(lambda _: f"```console\n{next(blocks)}```", page), encoding="utf-8")
    assert BLOCK.findall(PAGE.read_text(encoding="utf-8")) == shown


def test_shell_completion_lists_commands_and_options() -> None:
    for words, word, wanted in (("phyagi-assets mat", "1", "materialize"), ("phyagi-assets materialize --dry", "2", "--dry-run")):
        done = command(COMP_WORDS=words, COMP_CWORD=word, _PHYAGI_ASSETS_COMPLETE="bash_complete")
        assert wanted in done.stdout
