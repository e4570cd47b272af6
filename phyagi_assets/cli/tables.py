"""Tables and boxes that leave nothing out, however narrow the console is."""

from collections.abc import Container, Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group
from rich.markup import escape
from rich.measure import Measurement
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from phyagi_assets.cli.console import UNBROKEN

_BOX = 100
"""Width of a box on a console that is not a terminal, in characters."""
_FOLDED = 16
"""Smallest width to which a column of text is narrowed by breaking its lines, in characters."""


def print_table(console: Console, table: Table) -> None:
    """Print a table whose columns are as wide as their words and numbers: nothing is left out.

    If a table without a frame is wider than the console, its columns move closer together, and then its widest
    column of text is narrowed. If that does not suffice, each row is printed as its first cell and, below it, the other cells with
    their headings.
    """
    unbroken = console.options.update(width=UNBROKEN)
    for column in table.columns:
        sizes = [Measurement.get(console, unbroken, cell) for cell in (column.header, *column.cells)]
        column.min_width = max(size.maximum if column.no_wrap else size.minimum for size in sizes)
    if not table.show_edge:
        _narrow(console, table, unbroken)
    needed = Measurement.get(console, unbroken, table).minimum
    if needed > console.width and not table.show_edge:
        _print_rows(console, table)
        return
    if needed > console.width:
        table.width = needed  # otherwise, columns are left out
    console.print(table, crop=False)


def _narrow(console: Console, table: Table, unbroken: ConsoleOptions) -> None:
    """Move the columns of a table that is wider than the console closer together, and then narrow its widest column of text."""
    if Measurement.get(console, unbroken, table).maximum > console.width:
        table.padding = 0
    excess = Measurement.get(console, unbroken, table).minimum - console.width
    texts = [column for column in table.columns if column.justify == "left" and (column.min_width or 0) > _FOLDED]
    if excess > 0 and texts:
        widest = max(texts, key=lambda column: column.min_width or 0)
        widest.no_wrap, widest.overflow = False, "fold"
        widest.min_width = widest.max_width = max(_FOLDED, (widest.min_width or 0) - excess)


def _print_rows(console: Console, table: Table) -> None:
    """Print each row of a table as its first cell, and below it lines of the other cells with their headings."""
    if table.title:
        console.print(table.title)
    for first, *cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print(first, overflow="fold")
        lines = [Text()]
        for column, cell in zip(table.columns[1:], cells, strict=True):
            named = Text.from_markup(f"{column.header} {cell}".lstrip())
            if lines[-1] and lines[-1].cell_len + named.cell_len + 4 > console.width:
                lines.append(Text())
            lines[-1] = Text("  ").join([lines[-1], named]) if lines[-1] else named
        console.print(Padding(Group(*lines), (0, 0, 0, 2)))


def ruled_table(columns: Iterable[str], *, texts: Container[str], title: str | None = None) -> Table:
    """Return a table with a rule below its headings and right-aligned numbers; `texts` are the columns without numbers."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), title=title, title_justify="left")
    for name in columns:
        table.add_column(name, justify="left" if name in texts else "right", no_wrap=True)
    return table


def boxed(console: Console, text: str, title: str) -> ConsoleRenderable:
    """Return a text in a box, as wide as the terminal, or of a fixed width where lines are not broken.

    The title is part of the border, or a line above the box if it is wider than the box.
    """
    width = _BOX if console.width == UNBROKEN else console.width
    if cell_len(title) + len("╭─  ─╮") > width:
        return Group(Text(title, overflow="fold"), Panel(escape(text), width=width))
    return Panel(escape(text), title=escape(title), title_align="left", width=width)
