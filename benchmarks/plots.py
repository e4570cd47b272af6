"""One plot for all suites: a line a contender, a panel a setting, medians with the lowest and the highest."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

COLOURS = {"this project": "#1f6feb", "a peer": "#bc4c00", "a limit": "#8c959f"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One contender."""

    name: str
    kind: str
    panels: Sequence[Sequence[float]]
    """Its figures in each panel; none where it has none."""


def draw(lines: Sequence[Line], panels: Sequence[str], unit: str, path: Path) -> None:
    """Write an SVG, the same one for the same figures, its lines from the top down."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "phyagi-assets", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    size = (4.2 * len(panels) + 2, 0.3 * len(lines) + 1)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharey=True, squeeze=False)
    shown = list(reversed(lines))
    for number, (axis, title) in enumerate(zip(axes[0], panels, strict=True)):
        for place, line in enumerate(shown):
            if found := line.panels[number]:
                middle = statistics.median(found)
                error = [[middle - min(found)], [max(found) - middle]]
                axis.errorbar(middle, place, xerr=error, fmt="o", markersize=5, color=COLOURS[line.kind], capsize=2)
                figures = f"{middle:,.0f}" if middle >= 10 else f"{middle:.1f}"
                axis.annotate(figures, (max(found), place), (6, 0), textcoords="offset points", va="center")
        axis.set_xscale("log")
        axis.set_xlim(right=axis.get_xlim()[1] * 3)
        axis.grid(axis="y", color="#eaeef2")
        axis.set_axisbelow(True)
        axis.set_title(title)
        axis.set_xlabel(unit)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_yticks(range(len(shown)), [line.name for line in shown])
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
