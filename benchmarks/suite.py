"""A benchmark suite, with its contenders, settings, figures and ratios, and the runs that it produces."""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["this project", "a peer", "a limit"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """A program to measure, with its arguments."""

    name: str
    program: str
    """Path of the program in this folder."""
    kind: Kind = "a peer"
    environment: str = ""
    """Name of the environment that the program runs in, ``.venv-bench-NAME``; by default, the environment of the harness."""
    given: Mapping[str, Any] = field(default_factory=dict)
    settings: Container[str] | None = None
    """Names of the settings in which it runs; by default, all."""
    processors: int | None = None
    """Number of processors that it may use; by default, all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Arguments that every contender gets in some of its runs."""

    name: str
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of one contender."""

    contender: str
    setting: str
    round: int
    figures: Mapping[str, float] = field(default_factory=dict)
    """``seconds``, ``cpu_seconds``, ``whole_seconds``, ``whole_cpu_seconds``, ``peak_mb`` and other numbers that it printed; empty if it
    failed."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Hashes of what it made, which are the same for all contenders that made the same thing in the same setting and round."""
    problem: str = ""
    """Why it could not run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A figure of a table."""

    title: str
    name: str
    form: str = "{:,.1f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """The figure of one contender divided by that of another, in the same setting and round."""

    of: Contender
    to: Contender
    figure: str = "rate"
    to_figure: str = ""
    """By default, the same."""
    what: str = ""
    aim: str = ""

    @property
    def title(self) -> str:
        return self.what or f"{self.of.name} / {self.to.name}"

    def between(self, runs: Sequence[Run], setting: str) -> list[float]:
        """Return one ratio for each round in which both contenders ran."""
        mine, others = (
            {run.round: run.figures[name] for run in runs_of(runs, which.name, setting) if name in run.figures}
            for which, name in ((self.of, self.figure), (self.to, self.to_figure or self.figure))
        )
        return [mine[round_] / others[round_] for round_ in sorted(mine.keys() & others.keys())]


@dataclass(frozen=True, kw_only=True, slots=True)
class Suite:
    """A set of contenders, with the settings, figures and ratios of its tables."""

    title: str
    contenders: Sequence[Contender]
    settings: Sequence[Setting]
    figures: Sequence[Figure]
    ratios: Sequence[Ratio] = ()
    prepare: Callable[[Contender, Setting, int], Mapping[str, Any]] = lambda contender, setting, round_: {}  # noqa: ARG005
    """Prepare the inputs of a run, given the contender, the setting and the round, and return what the program is given besides."""
    derive: Callable[[Mapping[str, float]], Mapping[str, float]] = lambda figures: {}  # noqa: ARG005
    """Compute more figures from those of a run."""
    digests: Callable[[Mapping[str, Any]], Mapping[str, str]] = lambda told: told.get("digests", {})
    """Compute the digests of what a program made, given what it printed."""
    makes_files_in: Container[str] = ()
    """Names of the settings in which each contender first runs once outside the rounds, to make files that it keeps."""
    timeout: float | None = None
    """Seconds that a run may take."""
    is_by_setting: bool = True
    """Whether there is one table per setting, with a column per figure; otherwise one table per figure, with a column per setting."""
    notes: str = ""
    packages: Sequence[str] = ()
    """Packages whose versions are recorded."""
    plot: str = ""
    """Name of the plot's file, which shows the first figure."""
    plotted: int | None = None
    """Number of settings that the plot shows; by default, all."""


def runs_of(runs: Iterable[Run], contender: str, setting: str) -> list[Run]:
    """Return the runs of a contender in a setting."""
    return [run for run in runs if (run.contender, run.setting) == (contender, setting)]


def differing(suite: Suite, runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose digests differ from those of the other runs in their setting and round; peers are taken as right."""
    kinds = {contender.name: contender.kind for contender in suite.contenders}
    found: list[Run] = []
    right: dict[tuple[str, int, str], str] = {}
    for run in sorted(runs, key=lambda run: kinds[run.contender] != "a peer"):
        for what, digest in run.digests.items():
            if right.setdefault((run.setting, run.round, what), digest) != digest and run not in found:
                found.append(run)
    return found
