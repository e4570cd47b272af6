"""Consoles that are safe for untrusted text.

A document, a file name or an error message may contain escape sequences, which a terminal would execute, or marks that reverse the
direction of text. The consoles created here print visible symbols in place of these characters, and question marks in place of those that
the encoding of the output does not have.
"""

import os
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderHook, RenderResult
from rich.markup import escape
from rich.measure import Measurement
from rich.panel import Panel
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, except tabs and line feeds
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of text
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8
)
_PICTURES = 0x2400
"""First code point of the Unicode block of pictures for control characters."""


_UNBROKEN = 100_000
"""Width of a console that is not a terminal, in characters."""
_BOX = 100
"""Width of a box on such a console, in characters."""
_FOLDED = 16
"""Smallest width to which a column of text is narrowed by breaking its lines, in characters."""


def visible(text: str) -> str:
    r"""Replace control characters, direction marks and surrogates with visible symbols.

    Examples
    --------
    >>> visible("a\x1b[31mb\u202ec")
    'a␛[31mb\\u202ec'
    """
    return _UNSAFE.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    point = ord(found[0])
    if point < 0x20:
        return chr(_PICTURES + point)
    return "␡" if point == 0x7F else f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"


def new_console(*, stderr: bool = False, file: TextIO | None = None) -> Console:
    """Return a console on standard output, standard error or a file that prints unsafe characters as visible symbols.

    Lines are not broken where the output is not a terminal, unless ``COLUMNS`` is set.
    """
    console = Console(stderr=stderr, file=file, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _UNBROKEN
    console.push_render_hook(_Visible(console.encoding))
    return console


def print_text(console: Console, text: str, *, end: str = "\n") -> None:
    """Print a text unchanged: brackets are not read as markup, and lines are not wrapped."""
    console.print(text, markup=False, soft_wrap=True, end=end)


def print_table(console: Console, table: Table) -> None:
    """Print a table whose columns are as wide as their words and numbers, even if the console is narrower: nothing is left out.

    If a table without a frame is wider than the console, its columns move closer together, and then its widest
    column of text is narrowed.
    """
    unbroken = console.options.update(width=_UNBROKEN)
    for column in table.columns:
        sizes = [Measurement.get(console, unbroken, cell) for cell in (column.header, *column.cells)]
        column.min_width = max(size.maximum if column.no_wrap else size.minimum for size in sizes)
    if not table.show_edge and Measurement.get(console, unbroken, table).maximum > console.width:
        table.padding = 0
    if texts := [column for column in table.columns if column.justify == "left" and not table.show_edge]:
        widest = max(texts, key=lambda column: column.min_width or 0)
        excess = Measurement.get(console, unbroken, table).minimum - console.width
        if excess > 0 and (width := widest.min_width or 0) > _FOLDED:
            widest.no_wrap, widest.overflow = False, "fold"
            widest.min_width = widest.max_width = max(_FOLDED, width - excess)
    needed = Measurement.get(console, unbroken, table).minimum
    if needed > console.width:
        table.width = needed  # otherwise, columns are left out
    console.print(table, crop=False)


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
    width = _BOX if console.width == _UNBROKEN else console.width
    if cell_len(title) + len("╭─  ─╮") > width:
        return Group(Text(title, overflow="fold"), Panel(escape(text), width=width))
    return Panel(escape(text), title=escape(title), title_align="left", width=width)


@dataclass(frozen=True, slots=True)
class _Visible(RenderHook):
    encoding: str

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_VisibleRenderable(renderable, self.encoding) for renderable in renderables]


@dataclass(frozen=True, slots=True)
class _VisibleRenderable:
    renderable: ConsoleRenderable
    encoding: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from _made_visible(console.render(self.renderable, options), self.encoding)


def _made_visible(segments: Iterable[Segment], encoding: str) -> Iterable[Segment]:
    for segment in segments:
        yield segment if segment.control else segment._replace(text=_encodable(visible(segment.text), encoding))


def _encodable(text: str, encoding: str) -> str:
    return text if text.isascii() or encoding.startswith("utf") else text.encode(encoding, "replace").decode(encoding)
