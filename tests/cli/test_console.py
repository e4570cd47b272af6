"""Consoles print control characters as visible symbols."""

import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from phyagi_assets.cli.console import new_console, visible
from phyagi_assets.cli.tables import boxed, print_table, ruled_table

EMBEDDINGS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
UNSAFE = {chr(point) for point in (*range(0x20), *range(0x7F, 0xA0))} - {"\t", "\n"}


@given(st.text() | st.text(st.sampled_from("\x1b[]m31;\x07\x9b\u202e\u2066\ud800ab\n")))
def test_visible_text_has_no_control_characters_and_can_be_printed(text: str) -> None:
    shown = visible(text)
    assert not UNSAFE & set(shown)
    assert not {unicodedata.bidirectional(letter) for letter in shown} & EMBEDDINGS
    shown.encode()


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Cf"])))
def test_visible_does_not_change_other_text(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize("wrapped", [escape, lambda text: Panel(escape(text), title=escape(text)), lambda text: Table(escape(text))])
def test_console_shows_escape_sequences_in_everything_that_it_draws(wrapped) -> None:
    out = io.StringIO()
    new_console(file=out).print(wrapped("\x1b[31mred\x9b0m \u202eback"))
    assert not {"\x1b", "\x9b", "\u202e"} & set(out.getvalue())
    assert "␛[31mred" in out.getvalue()


def test_console_shows_a_question_mark_for_unencodable_characters() -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    new_console(file=out).print(Panel("café ×1.5 日本 ≥ 2"))
    out.seek(0)
    assert "café ×1.5 ?? ? 2" in out.read()


@pytest.mark.parametrize("columns", [None, "0"])
def test_lines_are_not_broken_where_the_output_is_not_a_terminal(columns: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    out = io.StringIO()
    console = new_console(file=out)
    console.print("word " * 100)
    console.print(boxed(console, "A text.", "title"))
    line, *box = out.getvalue().splitlines()
    assert line.rstrip() == ("word " * 100).rstrip()
    assert {len(row) for row in box} == {100}


@pytest.mark.parametrize("columns", [20, 60, 200])
def test_tables_show_whole_numbers_on_a_narrow_console(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    table = Table("corpus", "tokens", "positions")
    table.add_row("a_long_name_of_a_corpus", "161,234,567", "1,234, 5,678, 9,012")
    print_table(new_console(file=out), table)
    assert "…" not in out.getvalue()
    assert {"a_long_name_of_a_corpus", "161,234,567", "1,234,", "9,012"} <= set(out.getvalue().split())


def test_columns_move_together_on_a_console_that_is_narrower_than_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    widths = {}
    for columns in (80, 20):
        monkeypatch.setenv("COLUMNS", str(columns))
        out = io.StringIO()
        table = ruled_table(("corpus", "tokens"), texts=("corpus",))
        table.add_row("a_corpus", "161,234,567")
        print_table(new_console(file=out), table)
        widths[columns] = max(len(line.rstrip()) for line in out.getvalue().splitlines())
    assert widths == {80: 21, 20: 20}


@pytest.mark.parametrize(("columns", "widest"), [(41, 41), (60, 60), (200, 91)])
def test_table_with_a_long_name_has_all_columns(columns: int, widest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    table = ruled_table(("corpus", "stale", "failed", "tokens"), texts=("corpus",))
    table.add_row("a_corpus_" * 7, "1", "2", "161,234,567")
    print_table(new_console(file=out), table)
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert lines[0].split() == ["corpus", "stale", "failed", "tokens"]
    assert "".join(line[: line.find("1") if "1" in line else None].strip() for line in lines[2:]) == "a_corpus_" * 7
    assert max(map(len, lines)) == widest


def test_table_that_does_not_fit_prints_each_row_as_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "34")
    out = io.StringIO()
    table = ruled_table(("corpus", "partitions", "failed", "last built"), texts=("corpus",))
    table.add_row("a_corpus_" * 4, "1,234", "[red]2[/]", "2026-11-27 22:10")
    table.add_row("short", "4", "0", "–")
    print_table(new_console(file=out), table)
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "a_corpus_a_corpus_a_corpus_a_corpu",
        "s_",
        "  partitions 1,234  failed 2",
        "  last built 2026-11-27 22:10",
        "short",
        "  partitions 4  failed 0",
        "  last built –",
    ]


@pytest.mark.parametrize(("columns", "is_above"), [(60, False), (30, True)])
def test_title_that_is_wider_than_the_box_is_a_line_above_it(columns: int, is_above: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = io.StringIO()
    console = new_console(file=out)
    console.print(boxed(console, "A text.", "plays.txt row 1: tokens 1,234–1,746"))
    first = "".join(out.getvalue().splitlines()[: 2 if is_above else 1])
    assert "1,234–1,746" in first
    assert ("╭" not in first) == is_above
