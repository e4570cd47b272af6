"""The plot of a benchmark of text → token arrays: MB of text a second, a line a contender, a panel a tokenizer."""

from collections.abc import Sequence
from pathlib import Path

from plots import Line, draw
from text.report import READS, of, rates
from text.suite import CONTENDERS, Run


def plot(runs: Sequence[Run], path: Path) -> None:
    """Write an SVG, the same one for the same figures."""
    tokenizers = list(dict.fromkeys(run.tokenizer for run in runs))
    entries = [(contender, format_) for contender in CONTENDERS if contender.is_of_text for format_ in contender.formats]
    lines = [
        Line(
            name=f"{contender.name} ({READS[format_]})",
            kind=contender.kind,
            panels=[rates(of(runs, contender, format_, tokenizer)) for tokenizer in tokenizers],
        )
        for contender, format_ in entries
    ]
    draw([line for line in lines if any(line.panels)], tokenizers, "MB of text a second (log scale)", path)
