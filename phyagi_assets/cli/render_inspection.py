"""Output of the command that shows an artifact or a corpus."""

from collections.abc import Mapping, Sequence
from textwrap import fill

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from phyagi_assets.cli.tables import boxed
from phyagi_assets.formatting import counted
from phyagi_assets.inspection.describe import InspectReport, Part
from phyagi_assets.steps.lengths import Lengths

_SHARE = "part"
"""Label of the share of a part in the whole, from 0 to 1."""
_BAR = 24
"""Width of a bar for the whole."""
_LONGEST, _LABELS = 40, 30
"""Width of the longest bar of a histogram, and the room for what is beside it, in characters."""
_LISTED = 50
"""Number of parts, such as partitions, up to which all are listed."""
_ENDS = 10
"""Number of parts that are listed at the beginning and at the end of a longer list."""
_WIDEST = 10_000
"""Width at which tables are measured."""


def show_inspection(console: Console, found: InspectReport) -> None:
    """Print the facts, parts, lengths and samples of an artifact or a corpus."""
    console.print(f"[bold]{found.title}[/]")
    facts = Table(show_header=False, box=None)
    facts.add_column()
    facts.add_column(overflow="fold")
    for name, value in found.facts.items():
        facts.add_row(name, escape(value))
    console.print(facts)
    if found.parts:
        is_long = len(found.parts) > _LISTED
        _show_parts(console, [*found.parts[:_ENDS], {}, *found.parts[-_ENDS:]] if is_long else found.parts)
        if is_long:
            console.print(f"{len(found.parts) - 2 * _ENDS:,} of {len(found.parts):,} are left out; --json lists all", soft_wrap=True)
    if found.lengths:
        console.print(_lengths(found.lengths, min(_LONGEST, console.width - _LABELS)))
    for sample in found.samples:
        console.print(boxed(console, sample.text, f"{sample.where}, {counted(sample.tokens, 'token')}"))


def _show_parts(console: Console, parts: Sequence[Part]) -> None:
    """Print a table with one row for each part, or one block for each part if the table is wider than the console.

    Numbers are never shortened. Headings are broken between words; a bar for the share of each part is drawn where there is room. An
    ellipsis stands for a part without values.
    """
    names = list(dict.fromkeys(name for part in parts for name in part))
    columns = {name: [_shown(name, part.get(name, "")) for part in parts] for name in names}
    columns[names[0]] = [value if part else "…" for value, part in zip(columns[names[0]], parts, strict=True)]
    bars = {"": ["█" * round(_BAR * float(part.get(_SHARE, 0))) for part in parts]} if _SHARE in names else {}
    for shown, padding, breaks in ((columns | bars, 1, False), (columns | bars, 1, True), (columns, 1, True), (columns, 0, True)):
        table = _narrow_table(shown, padding, breaks=breaks)
        if Measurement.get(console, console.options.update(width=_WIDEST), table).maximum <= console.width:
            console.print(table)
            return
    for part in parts:
        block = Table(show_header=False, box=None, pad_edge=False)
        block.add_column(no_wrap=True)
        block.add_column(overflow="fold")
        for name, value in part.items() or [("…", "")]:
            block.add_row(name, escape(_shown(name, value)))
        console.print(block, "")


def _narrow_table(columns: Mapping[str, Sequence[str]], padding: int, *, breaks: bool) -> Table:
    """Return a table whose columns are as wide as their longest value, or their heading, or its longest word if headings are broken."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, padding, 0, 0))
    for name, values in columns.items():
        width = max(map(cell_len, [*(name.split() if breaks else [name]), *values, " "]))
        is_number = all(value[:1].isdigit() for value in values if value)
        table.add_column(fill(name, width, break_long_words=False), justify="right" if is_number else "left", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(escape, row))
    return table


def _shown(name: str, value: str | float) -> str:
    if name == _SHARE and value != "":
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else value


def _lengths(lengths: Lengths, longest: int) -> Group:
    table = Table("tokens", "documents", "", box=None)
    most = max(count for _, count in lengths.histogram)
    for low, count in lengths.histogram:
        table.add_row(f"≥ {low:,}", f"{count:,}", "█" * round(longest * count / most))
    return Group(f"tokens per document: {lengths}", table)
