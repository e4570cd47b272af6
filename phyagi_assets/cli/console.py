"""Consoles that are safe for untrusted text.

A document, a file name or an error message may contain escape sequences, which a terminal would execute, or marks that reverse the
direction of text. The consoles created here print visible symbols in place of these characters, and question marks in place of those that
the encoding of the output does not have.
"""

import os
import re
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult

_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, except tabs and line feeds
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction of text
    "\ud800-\udfff]"  # bytes of a file name that are not UTF-8
)
_PICTURES = 0x2400
"""First code point of the Unicode block of pictures for control characters."""
UNBROKEN = 100_000
"""Width of a console that is not a terminal, in characters."""


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
    if console.width < 1 or (not console.is_terminal and "COLUMNS" not in os.environ):  # at a width of 0, nothing would be printed
        console.width = UNBROKEN
    console.push_render_hook(_Visible(console.encoding))
    return console


def print_text(console: Console, text: str, *, end: str = "\n") -> None:
    """Print a text unchanged: brackets are not read as markup, and lines are not wrapped."""
    console.print(text, markup=False, soft_wrap=True, end=end)


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
        for segment in console.render(self.renderable, options):
            yield segment if segment.control else segment._replace(text=_encodable(visible(segment.text), self.encoding))


def _encodable(text: str, encoding: str) -> str:
    return text if text.isascii() or encoding.startswith("utf") else text.encode(encoding, "replace").decode(encoding)
