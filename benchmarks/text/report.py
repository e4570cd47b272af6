"""The tables of a benchmark of text → token arrays."""

import statistics
from collections.abc import Mapping, Sequence

from results import spread
from text.suite import CONTENDERS, RATIOS, Contender, Run

READS = {"jsonl": "JSON Lines", "parquet": "Parquet"}


def of(runs: Sequence[Run], contender: Contender, format_: str, tokenizer: str) -> list[Run]:
    """The runs of one line of a table."""
    return [run for run in runs if (run.contender, run.format, run.tokenizer) == (contender.name, format_, tokenizer)]


def rates(runs: Sequence[Run]) -> list[float]:
    """MB of text a second."""
    return [run.text_bytes / 1e6 / run.figures["seconds"] for run in runs if not run.problem]


def tables(runs: Sequence[Run], differing: Sequence[Run], growth: Mapping[str, Sequence[Run]], notes: Sequence[str]) -> str:
    """All of it, in Markdown."""
    tokenizers = list(dict.fromkeys(run.tokenizer for run in runs))
    lines = ["## Text → token arrays", "", *notes, ""]
    for tokenizer in tokenizers:
        lines += [f"### {tokenizer}", "", *_contenders(runs, differing, tokenizer), ""]
    lines += ["### Ratios", "", *_ratios(runs, tokenizers), ""]
    if growth:
        lines += ["### Memory, for ten times the text", "", *_growth(growth), ""]
    problems = list(dict.fromkeys(f"* {run.contender}, {READS[run.format]}, {run.tokenizer}: {run.problem}" for run in runs if run.problem))
    if problems:
        lines += ["### Could not run", "", *problems, ""]
    return "\n".join(lines)


def _contenders(runs: Sequence[Run], differing: Sequence[Run], tokenizer: str) -> list[str]:
    lines = ["| | reads | MB/s | M tokens/s | whole process, s | peak memory, MB | ids |", "| --- | --- | --- | --- | --- | --- | --- |"]
    steps: list[str] = []
    for contender in CONTENDERS:
        for format_ in contender.formats:
            its = of(runs, contender, format_, tokenizer)
            good = [run for run in its if not run.problem]
            if not its:
                continue
            if not contender.is_of_text:
                steps += [_step(contender, good)] if good else []
            elif good:
                lines.append(_line(contender, format_, good, any(run in differing for run in its)))
            else:
                lines.append(f"| {contender.name} | {READS[format_]} | could not run | | | | |")
    return [*lines, *(["", *steps] if steps else [])]


def _line(contender: Contender, format_: str, good: list[Run], differs: bool) -> str:
    tokens = [run.figures["tokens"] / 1e6 / run.figures["seconds"] for run in good if run.figures["tokens"]]
    cells = [
        contender.name,
        READS[format_],
        spread(rates(good)),
        spread(tokens) if tokens else "",
        spread([run.figures["whole_seconds"] for run in good]),
        f"{statistics.median(run.figures['peak_mb'] for run in good):,.0f}",
        "" if not good[0].digests else "**differ**" if differs else "equal",
    ]
    return f"| {' | '.join(cells)} |"


def _step(contender: Contender, good: list[Run]) -> str:
    """A step that has bytes, not text, to do with."""
    size = statistics.median(run.figures["bytes"] for run in good) / 1e6
    own, copied, written = (spread([run.figures[name] * 1e3 for run in good]) for name in ("seconds", "memcpy_seconds", "write_seconds"))
    return f"{contender.name}, {size:,.0f} MB: {own} ms; copied in memory: {copied} ms; written to a file and flushed: {written} ms."


def _ratios(runs: Sequence[Run], tokenizers: Sequence[str]) -> list[str]:
    lines = [f"| times as fast | aim | {' | '.join(tokenizers)} |", f"| --- | --- |{' --- |' * len(tokenizers)}"]
    for ratio in RATIOS:
        found = [ratio.between(list(runs), tokenizer) for tokenizer in tokenizers]
        if any(found):
            aim = f"≥ {ratio.at_least:g}" if ratio.at_least else ""
            lines.append(f"| {ratio.what} | {aim} | {' | '.join(spread(one, '{:.2f}') if one else '–' for one in found)} |")
    return lines


def _growth(growth: Mapping[str, Sequence[Run]]) -> list[str]:
    lines = ["| | MB | MB/s | peak memory, MB |", "| --- | --- | --- | --- |"]
    for text, its in growth.items():
        for run in its:
            if run.problem:
                lines.append(f"| {text} | {run.text_bytes / 1e6:,.0f} | could not run: {run.problem} | |")
            else:
                lines.append(f"| {text} | {run.text_bytes / 1e6:,.0f} | {rates([run])[0]:,.1f} | {run.figures['peak_mb']:,.0f} |")
    factors = [f"{text} {its[-1].figures['peak_mb'] / its[0].figures['peak_mb']:.2f} ×" for text, its in growth.items() if its[-1].figures]
    return [*lines, "", f"Ten times the text, in memory: {', '.join(factors)}."]
