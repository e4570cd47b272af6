"""Code blocks of the pages, each with the output that the page shows for it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<code>.*?)^```\n", re.MULTILINE | re.DOTALL)
_WITH_OUTPUT = ("python", "sh")
"""Languages whose blocks are followed by a block of text if the page shows what they print."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A code block of a page."""

    language: str
    """Language after the opening fence; empty if there is none."""
    code: str
    output: str | None
    """Content of the block of text that directly follows; None if there is none, or if it belongs to prose."""
    start: int
    """Index of the opening fence in the text of the page."""
    end: int
    """Index of the end of the block, and of its output, in the text of the page."""

    @property
    def text(self) -> str:
        """The block and its output as the page has them."""
        shown = f"\n```text\n{self.output}```\n" if self.output is not None else ""
        return f"```{self.language}\n{self.code}```\n{shown}"


def page_files() -> list[Path]:
    """Return the README and all pages of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(text: str) -> Iterator[Block]:
    """Yield the code blocks of a page, in order."""
    block: Block | None = None
    for found in _BLOCK.finditer(text):
        language, code = found["language"], found["code"]
        if block and block.language in _WITH_OUTPUT and language == "text" and text[block.end : found.start()] == "\n":
            yield replace(block, output=code, end=found.end())
            block = None
            continue
        if block:
            yield block
        block = Block(language=language, code=code, output=None, start=found.start(), end=found.end())
    if block:
        yield block
