"""Forecast of a run over a mixture, before anything is built: the tokens that it reads, and the disk and time that building takes."""

import logging
import math
from collections.abc import Mapping
from typing import Literal

from phyagi_assets.build.available import available_partitions
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig, MixturePart
from phyagi_assets.errors import DeclarationError
from phyagi_assets.formats.plan import Plan, samples_in
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.inspection.corpus_size import CorpusSize, corpus_size
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.order.composition import composition
from phyagi_assets.order.group_schedule import corpus_schedule
from phyagi_assets.order.planning import amounts
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.mixture_caches import check_lengths
from phyagi_assets.steps.mixture_version import expected_mixture, mixture_address, published_mixture
from phyagi_assets.steps.step import Workspace

logger = logging.getLogger(__name__)


class CorpusForecast(Record):
    """Forecast for one corpus of a mixture."""

    corpus: str
    amount: str
    """Declared weight or share, as ``×1.5`` or ``30 %``."""
    tokens: int
    """Number of training tokens of the corpus once it is built."""
    is_exact: bool
    """Whether all partitions are built, so that `tokens` is counted and not estimated."""
    uncovered: int
    """Number of training tokens that are in no sample."""
    fill: float | None
    """Share of the packed samples that is not padding, from 0 to 1; None if the corpus is not packed, or the samples are not built."""
    read: int
    """Number of tokens of the corpus that the run reads."""
    epochs: float
    """Number of epochs over the corpus in the run."""
    max_epochs: float | None
    """Declared limit on `epochs`; None without a limit."""

    @property
    def repeats_too_often(self) -> bool:
        """Whether the run reads the corpus more often than `max_epochs` allows."""
        return self.max_epochs is not None and self.epochs > self.max_epochs


class Forecast(Report):
    """Forecast of a run over a mixture."""

    report: Literal["plan"] = "plan"
    version: Literal[1] = 1
    mixture: str
    tokens: int
    """Number of tokens that the run reads."""
    epochs: float
    """Number of epochs over the mixture in the run."""
    corpora: tuple[CorpusForecast, ...]
    bytes_to_write: int
    """Disk space that building takes, in bytes; 0 if everything is built."""
    seconds: float
    """Estimated time that building takes, in seconds."""


def forecast(mixture: Mixture, corpora: Mapping[str, Corpus], workspace: Workspace, tokens: int | None = None) -> Forecast:
    """Forecast a run over a mixture.

    Parameters
    ----------
    tokens
        Number of tokens that the run reads, rounded up to whole samples; by default, one epoch of the mixture, or all of its stages if the
        last one has an end.

    Raises
    ------
    DeclarationError, SourceError, TokenizerError
        An error that building the mixture would raise, too.
    """
    config = mixture.config
    partitions = _partitions(mixture, corpora, workspace)
    sizes = {name: corpus_size(corpora[name], partitions[name], workspace) for name in config.corpora}
    published = _published(mixture, sizes, workspace) if all(size.is_exact for size in sizes.values()) else None
    if published is None:
        _check_lengths(mixture, sizes)
    samples = {part.corpus: max(1, _samples(config, part, sizes[part.corpus].tokens)) for part in config.parts}
    fills: dict[str, float | None] = {}
    if published:
        sources = [source for segment in published.segments for source in segment.sources]
        samples |= {published.corpora[source.corpus].name: source.samples for source in sources}
        fills |= {component.corpus: component.fill for component in composition(published)}
    read, epochs = _read(config, samples, published, tokens)
    return Forecast(
        mixture=config.name,
        tokens=sum(read.values()) * config.seq_len,
        epochs=epochs,
        corpora=tuple(
            CorpusForecast(
                corpus=part.corpus,
                amount=_amount(config, part.corpus),
                tokens=sizes[part.corpus].tokens,
                is_exact=sizes[part.corpus].is_exact,
                uncovered=max(0, sizes[part.corpus].tokens - samples[part.corpus] * config.seq_len),
                fill=fills.get(part.corpus),
                read=read[part.corpus] * config.seq_len,
                epochs=read[part.corpus] / samples[part.corpus],
                max_epochs=part.max_epochs,
            )
            for part in config.parts
        ),
        bytes_to_write=sum(size.bytes_to_write for size in sizes.values()),
        seconds=sum(size.seconds for size in sizes.values()),
    )


def _check_lengths(mixture: Mixture, sizes: Mapping[str, CorpusSize]) -> None:
    """Raise a `DeclarationError` if a corpus has too few tokens for a sample; warn of those that seem to have too few by an estimate."""
    check_lengths(mixture, {name: size.tokens for name, size in sizes.items() if size.is_exact})
    try:
        check_lengths(mixture, {name: size.tokens for name, size in sizes.items()})
    except DeclarationError as problem:
        logger.warning("%s (the number of tokens is an estimate)", problem)


def _read(config: MixtureConfig, samples: Mapping[str, int], published: Plan | None, tokens: int | None) -> tuple[dict[str, int], float]:
    """Return the number of samples of each corpus that a run reads, and the number of its epochs.

    Parameters
    ----------
    published
        Published plan if it is current, which has the numbers of samples in an epoch.
    """
    read, epochs = dict.fromkeys(config.trained, 0), 0.0
    for number, (start, parts) in enumerate(config.timeline):
        rates = amounts(parts, [samples[part.corpus] for part in parts])
        if published and config.stages is None:
            rates = [(source.rate, source.drawn) for source in published.current.sources]
        epoch = sum(drawn for _, drawn in rates)
        end = _end(config, number, tokens)
        positions = epoch if end is None else max(0, end - start)
        for part, count in zip(parts, corpus_schedule(config.concat, rates).draws_before(positions).tolist(), strict=True):
            read[part.corpus] += count
        epochs += positions / epoch
    return read, epochs


def _samples(config: MixtureConfig, part: MixturePart, tokens: int) -> int:
    """Return the number of samples that the tokens of a corpus make; an estimate if they are packed."""
    return -(-tokens // config.seq_len) if config.packing_of(part) == "best_fit" else samples_in(tokens, config.seq_len)


def _end(config: MixtureConfig, number: int, tokens: int | None) -> int | None:
    """Return the position at which the run leaves a stage: where the next stage begins or the run ends; None if it has no end."""
    ends = [start for start, _ in config.timeline[number + 1 : number + 2]]
    declared = config.stages[-1].until if config.stages else None
    if (last := declared if tokens is None else tokens) is not None:
        ends.append(math.ceil(last / config.seq_len))
    return min(ends, default=None)


def _amount(config: MixtureConfig, corpus: str) -> str:
    """Return the declared amounts of a corpus in all stages, for display."""
    found = []
    for _, parts in config.timeline:
        declared = next((part for part in parts if part.corpus == corpus), None)
        found.append("–" if declared is None else f"{100 * declared.share:g} %" if declared.share else f"×{declared.weight:g}")
    return " → ".join(found)


def _partitions(mixture: Mixture, corpora: Mapping[str, Corpus], workspace: Workspace) -> dict[str, dict[str, Partition]]:
    """Return the partitions that a mixture reads, by corpus and key."""
    listed = {name: workspace.sources.partitions(corpora[name]) for name in mixture.config.corpora}
    available = available_partitions(mixture, corpora, {name: list(partitions) for name, partitions in listed.items()}, workspace)
    return {name: {key: listed[name][key] for key in keys} for name, keys in available.keys.items()}


def _published(mixture: Mixture, sizes: Mapping[str, CorpusSize], workspace: Workspace) -> Plan | None:
    """Return the published plan if it is current. Its sample counts are exact even if an earlier release cut samples differently."""
    caches = {name: size.caches for name, size in sizes.items()}
    published = published_mixture(expected_mixture(mixture, workspace, caches), mixture_address(mixture), workspace.store)
    return plan_of(published) if published else None
