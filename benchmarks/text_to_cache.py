"""Text → token arrays: this project, its peers and the limits, on the same text.

Run it with ``make bench-text``. Each run is a process of its own on text that no engine has seen. Writes the tables and a plot.
"""

import shutil
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import measure, options
from suite import Contender, Figure, Ratio, Setting, Suite
from text.compared import digests
from text.inputs import FILES, TOKENIZERS, write_inputs
from text.varied_text import NATURAL, kinds

READS = {"jsonl": "JSON Lines", "parquet": "Parquet"}
ONE = "tokenizers1"
"""The environment of tokenizers 1.0."""
OURS, LIMIT = {"kind": "this project"}, {"kind": "a limit"}


def reading(name: str, program: str, *formats: str, environment: str = "", kind: Any = "a peer", **given: Any) -> list[Contender]:
    """Declare a program once per format."""
    path = f"text/contenders/{program}.py"
    return [
        Contender(name=f"{name}, {READS[one]}", program=path, kind=kind, environment=environment, given={"format": one, **given})
        for one in formats or READS
    ]


STEPS = reading("phyagi-assets, its steps", "our_steps", **OURS)
COMMAND = reading("phyagi-assets, its command (whole process)", "our_command", **OURS)
DAGSTER = reading("phyagi-assets, in Dagster", "our_dagster", **OURS)
MAP = reading("datasets.map, 2 processes", "datasets_map", with_transformers=True)
MAP_ONE = reading("datasets.map on tokenizers 1.0, 2 processes", "datasets_map", environment=ONE, with_transformers=False)
DATATROVE = reading("datatrove, 2 workers", "datatrove_tokens")
MEGATRON = reading("Megatron-LM, preprocess_data_fast", "megatron_preprocess", "jsonl")
LITDATA = reading("litdata optimize, 2 workers", "litdata_optimize")
BATCHED = reading("tokenizers 0.23, in batches", "tokenizers_batches")
BATCHED_ONE = reading("tokenizers 1.0, in batches", "tokenizers_batches", environment=ONE)
GIGATOKEN_FILES = reading("gigatoken, encode_files", "gigatoken_files")
(GIGATOKEN,) = reading("limit: gigatoken alone", "engine_alone", "parquet", engine="gigatoken", **LIMIT)
(FASTOKENS,) = reading("limit: fastokens alone", "engine_alone", "parquet", engine="fastokens", **LIMIT)
(TOKENIZERS_ALONE,) = reading("limit: tokenizers 1.0 alone", "engine_alone", "parquet", engine="tokenizers", environment=ONE, **LIMIT)
READING = reading("limit: reading alone", "reading_alone", **LIMIT)
MEMCPY = reading("limit: memcpy of the files", "memcpy", "jsonl", **LIMIT)
(CACHE_STEP,) = reading("phyagi-assets, tokenized Arrow → .npy (MB of ids)", "our_cache_step", "parquet", **OURS)
GROUPS = (STEPS, COMMAND, DAGSTER, MAP, MAP_ONE, DATATROVE, MEGATRON, LITDATA, BATCHED, BATCHED_ONE, GIGATOKEN_FILES)
CONTENDERS = [*(one for group in GROUPS for one in group), GIGATOKEN, FASTOKENS, TOKENIZERS_ALONE, *READING, *MEMCPY, CACHE_STEP]

RATIOS = [
    Ratio(of=STEPS[0], to=GIGATOKEN, aim="≥ 0.40"),
    Ratio(of=STEPS[1], to=GIGATOKEN, aim="≥ 0.45"),
    Ratio(of=STEPS[0], to=MAP_ONE[0], aim="≥ 2.5"),
    *(Ratio(of=STEPS[0], to=group[0]) for group in (MAP, DATATROVE, MEGATRON, LITDATA, BATCHED, BATCHED_ONE, GIGATOKEN_FILES)),
    Ratio(of=DAGSTER[0], to=MAP[0]),
    *(
        Ratio(of=COMMAND[0], to=to[0], to_figure="whole_rate", aim=aim, what=f"whole processes: {COMMAND[0].name} / {to[0].name}")
        for to, aim in ((MAP, "≥ 10"), (MAP_ONE, ""), (DATATROVE, ""))
    ),
    Ratio(of=CACHE_STEP, to=CACHE_STEP, to_figure="memcpy_rate", what="tokenized Arrow → .npy / memcpy of the same bytes"),
    Ratio(of=CACHE_STEP, to=CACHE_STEP, to_figure="write_rate", what="tokenized Arrow → .npy / writing and flushing the same bytes"),
]
FIGURES = [
    Figure(title="MB/s", name="rate"),
    Figure(title="MB per CPU second", name="cpu_rate"),
    Figure(title="M tokens/s", name="token_rate"),
    Figure(title="whole process, s", name="whole_seconds"),
    Figure(title="peak memory, MB", name="peak_mb", form="{:,.0f}"),
]

PACKAGES = ("phyagi-assets", "fastokens", "gigatoken", "tokenizers", "transformers", "datasets", "datatrove", "litdata", "megatron-core")


class Texts:
    """The text of a run, written unless it is the text of the run before."""

    def __init__(self, work: Path, megabytes: float, only: str | None) -> None:
        self.work, self.megabytes, self.only = work, megabytes, only
        self._there: tuple[float, int, float] | None = None

    def __call__(self, contender: Contender, setting: Setting, seed: int) -> Mapping[str, Any]:
        """Return the folder of the files, the bytes of their text and the folder of the tokenizer."""
        given = {**setting.given, **contender.given}
        wanted = (self.megabytes * given.get("times", 1), seed, given.get("new_words", NATURAL))
        folder = self.work / "text" / "inputs"
        if wanted != self._there:
            shutil.rmtree(folder, ignore_errors=True)
            self._inputs = write_inputs(folder, megabytes=wanted[0], seed=seed, new_words=wanted[2], only=self.only)
            self._there = wanted
        name = given.get("tokenizer", next(iter(TOKENIZERS)))
        tokenizer = TOKENIZERS[name](self.work / "text" / "tokenizers" / "".join(c if c.isalnum() else "-" for c in name))
        return {"source": str(folder), "text_bytes": self._inputs.text_bytes, "tokenizer": str(tokenizer)}


SHORTEST = 0.05
"""Processor time below which the clock of the system is too coarse for a rate, in seconds."""
RATES = {"rate": "", "cpu_rate": "cpu_", "whole_rate": "whole_", "memcpy_rate": "memcpy_", "write_rate": "write_"}


def derive(run: Mapping[str, float]) -> Mapping[str, float]:
    """Compute the rates of a run, in MB of text; in MB of ids if the program handles ids alone."""
    megabytes = run.get("bytes", run["text_bytes"]) / 1e6
    found = {name: megabytes / run[f"{of}seconds"] for name, of in RATES.items() if run.get(f"{of}seconds")}
    if run["cpu_seconds"] < SHORTEST:
        found.pop("cpu_rate", None)
    return {**found, **({"token_rate": run["tokens"] / 1e6 / run["seconds"]} if run.get("tokens") else {})}


def text_suite(texts: Texts) -> Suite:
    kind = texts.only or ", ".join(kinds())
    return Suite(
        title="Text → token arrays",
        contenders=CONTENDERS,
        settings=[Setting(name=name, given={"tokenizer": name}) for name in TOKENIZERS],
        figures=FIGURES,
        ratios=RATIOS,
        prepare=texts,
        derive=derive,
        digests=digests,
        timeout=300 + 5 * texts.megabytes,
        notes=f"{texts.megabytes:g} MB of text in {FILES} files ({kind}; {NATURAL:.0%} of the words new). Rates are taken "
        "inside the process, after imports and with the tokenizer loaded. Memory is that of all "
        "processes; pages that they share are counted in each.",
        packages=PACKAGES,
        plot="text_to_cache.svg",
    )


def growth_suite(texts: Texts) -> Suite:
    once, ten = (
        Contender(
            name=f"phyagi-assets, its steps, {times * texts.megabytes:,g} MB",
            program="text/contenders/our_steps.py",
            kind="this project",
            given={"format": "jsonl", "times": times},
        )
        for times in (1, 10)
    )
    return Suite(
        title="Memory, for ten times the text",
        contenders=[once, ten],
        settings=[Setting(name=name, given={"new_words": share}) for name, share in (("natural text", NATURAL), ("every word new", 1.0))],
        figures=[FIGURES[-1], FIGURES[0]],
        ratios=[Ratio(of=ten, to=once, figure="peak_mb", what="peak memory", aim="≤ 1.1")],
        prepare=texts,
        derive=derive,
        is_by_setting=False,
    )


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--megabytes", type=float, help="text in a run  [default: 100]")
    parser.add_argument("--kind", choices=kinds(), help="text of one kind alone, such as prose")
    parser.add_argument("--growth", action="store_true", help="measure the memory for ten times the text as well")


def main() -> None:
    given = options(__doc__, rounds=5, add=add_options)
    if given.kind:
        given.results = given.work
    texts = Texts(given.work, given.megabytes or (1 if given.quick else 100), given.kind)
    measure(text_suite(texts), given)
    if given.growth:
        measure(growth_suite(texts), given)


if __name__ == "__main__":
    main()
