"""The plot of a benchmark of text → token arrays: MB of text a second, a line a contender, a panel a tokenizer."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from text.report import READS, of, rates
from text.suite import CONTENDERS, Kind, Run

COLOURS: dict[Kind, str] = {"this project": "#1f6feb", "a peer": "#bc4c00", "a limit": "#8c959f"}


def plot(runs: Sequence[Run], path: Path) -> None:
    """Write an SVG, the same one for the same figures."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "phyagi-assets", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    tokenizers = list(dict.fromkeys(run.tokenizer for run in runs))
    lines = [(contender, format_) for contender in CONTENDERS if contender.is_of_text for format_ in contender.formats]
    lines = [line for line in lines if any(rates(of(runs, *line, tokenizer)) for tokenizer in tokenizers)][::-1]
    figure, panels = plt.subplots(1, len(tokenizers), figsize=(4.2 * len(tokenizers) + 2, 0.3 * len(lines) + 1), sharey=True, squeeze=False)
    for panel, tokenizer in zip(panels[0], tokenizers, strict=True):
        for place, (contender, format_) in enumerate(lines):
            if found := rates(of(runs, contender, format_, tokenizer)):
                middle = statistics.median(found)
                error = [[middle - min(found)], [max(found) - middle]]
                panel.errorbar(middle, place, xerr=error, fmt="o", markersize=5, color=COLOURS[contender.kind], capsize=2)
                figures = f"{middle:,.0f}" if middle >= 10 else f"{middle:.1f}"
                panel.annotate(figures, (max(found), place), (6, 0), textcoords="offset points", va="center")
        panel.set_xscale("log")
        panel.set_xlim(right=panel.get_xlim()[1] * 3)
        panel.grid(axis="y", color="#eaeef2")
        panel.set_axisbelow(True)
        panel.set_title(tokenizer)
        panel.set_xlabel("MB of text a second (log scale)")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_yticks(range(len(lines)), [f"{contender.name} ({READS[format_]})" for contender, format_ in lines])
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
