"""docs/command.md lists every command, option and schema; tests/documentation runs its examples.

``REWRITE_PAGES=1 pytest tests/cli/test_command_page.py`` writes the tables into the page.
"""

import os
import re

import click
import pytest
from click.testing import CliRunner

from docs.schemas import FOLDER, schemas
from phyagi_assets.cli import main
from tests.command import command
from tests.support import REPOSITORY

PAGE = REPOSITORY / "docs" / "command.md"
REWRITES = bool(os.environ.get("REWRITE_PAGES"))
SHARED, FOLDERS = ("--json", "--verbose", "--quiet", "--log-file"), ("--data", "--store")
TABLE = re.compile(r"(<!-- options: (?P<name>\w+) -->\n\n)(?P<table>(?:\|.*\n)*)")
SCHEMAS = re.compile(r"(<!-- schemas -->\n\n)((?:\*.*\n)*)")


def rows_of(options: list[click.Parameter]) -> str:
    """Return a table of options and arguments, without those of all commands."""
    rows = ["| option | meaning |", "| --- | --- |"]
    for option in options:
        if isinstance(option, click.Option):
            value = "" if option.is_flag else option.make_metavar(click.Context(main))
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


def test_shell_completion_lists_commands_and_options() -> None:
    for words, word, wanted in (("phyagi-assets mat", "1", "materialize"), ("phyagi-assets materialize --dry", "2", "--dry-run")):
        done = command(COMP_WORDS=words, COMP_CWORD=word, _PHYAGI_ASSETS_COMPLETE="bash_complete")
        assert wanted in done.stdout


def test_help_lists_commands_in_the_order_of_the_page_with_a_whole_sentence_each(page: str) -> None:
    listed = CliRunner().invoke(main, ["--help"], terminal_width=80).output.partition("Commands:\n")[2].partition("\n\n")[0]
    assert re.findall(r"^  (\w+)", listed, re.MULTILINE) == re.findall(r"^## ([a-z]+)$", page, re.MULTILINE)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed.splitlines())


def test_help_shows_no_ranges() -> None:
    texts = [CliRunner().invoke(main, [name, "--help"]).output for name in main.commands]
    assert not [text for text in texts if re.search(r"RANGE|<=", text)]
