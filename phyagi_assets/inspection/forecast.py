"""Forecast of a run over a mixture, before anything is built: the tokens that it reads, and the disk and time that building takes."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np

from phyagi_assets.build.available import available_partitions
from phyagi_assets.build.staleness import partition_artifacts
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.schema import MixtureConfig, MixturePart
from phyagi_assets.errors import DeclarationError, MissingPackageError, translate_missing_packages
from phyagi_assets.formats.plan import PLAN, Plan, samples_in
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.order.composition import composition
from phyagi_assets.order.planning import amounts
from phyagi_assets.order.schedule import Interleaved, InTurn
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.steps.cache import cache_address
from phyagi_assets.steps.conversations import conversation_recipe
from phyagi_assets.steps.encoding import eos_to_append, token_dtype
from phyagi_assets.steps.mixture import check_lengths, expected_mixture, mixture_address, published_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

logger = logging.getLogger(__name__)

_PROBED = 4
"""Number of batches (of about a megabyte) that are encoded to measure tokens per byte and bytes per second."""
_BYTES_A_TOKEN = 4.3
"""Bytes per token of English text, assumed for remote sources that have no local partition to measure."""
_BYTES_A_SECOND = 50e6
"""Bytes per second at which such sources are assumed to be fetched and encoded."""


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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    """Size of a corpus in training tokens, and the cost of building its missing partitions."""

    tokens: int
    is_exact: bool
    bytes_to_write: int = 0
    seconds: float = 0.0


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
        An error that would also keep the mixture from being built.
    """
    config = mixture.config
    partitions = _partitions(mixture, corpora, workspace)
    sizes = {name: _size(corpora[name], partitions[name], workspace) for name in config.corpora}
    published = _published(mixture, corpora, partitions, workspace) if all(size.is_exact for size in sizes.values()) else None
    if published is None:
        check_lengths(mixture, {name: size.tokens for name, size in sizes.items() if size.is_exact})
        try:
            check_lengths(mixture, {name: size.tokens for name, size in sizes.items()})
        except DeclarationError as problem:
            logger.warning("%s (the number of tokens is an estimate)", problem)
    samples = {part.corpus: max(1, _samples(config, part, sizes[part.corpus].tokens)) for part in config.parts}
    fills: dict[str, float | None] = {}
    if published:
        sources = [source for segment in published.segments for source in segment.sources]
        samples |= {published.corpora[source.corpus].name: source.samples for source in sources}
        fills |= {component.corpus: component.fill for component in composition(published)}
    read, epochs = dict.fromkeys(config.trained, 0), 0.0
    for number, (start, parts) in enumerate(config.timeline):
        rates = amounts(parts, [samples[part.corpus] for part in parts])
        if published and config.stages is None:
            rates = [(source.rate, source.drawn) for source in published.current.sources]
        epoch = sum(drawn for _, drawn in rates)
        end = _end(config, number, tokens)
        positions = epoch if end is None else max(0, end - start)
        schedule = Interleaved([rate for rate, _ in rates]) if config.concat == "interleaved" else InTurn([drawn for _, drawn in rates])
        for part, count in zip(parts, schedule.given(positions).tolist(), strict=True):
            read[part.corpus] += count
        epochs += positions / epoch
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


def _samples(config: MixtureConfig, part: MixturePart, tokens: int) -> int:
    """Return the number of samples that the tokens of a corpus make, or about that number if they are packed."""
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
    available = available_partitions(mixture, corpora, {name: list(of) for name, of in listed.items()}, workspace)
    return {name: {key: listed[name][key] for key in keys} for name, keys in available.keys.items()}


def _published(
    mixture: Mixture, corpora: Mapping[str, Corpus], partitions: Mapping[str, Mapping[str, Partition]], workspace: Workspace
) -> Plan | None:
    """Return the published plan if it is current. Its sample counts are exact even if an earlier release cut samples in another way."""
    caches = {
        name: {
            key: partition_artifacts(corpora[name], partition, workspace)[-1].fingerprint or ""
            for key, partition in partitions[name].items()
        }
        for name in mixture.config.corpora
    }
    published = published_mixture(expected_mixture(mixture, caches), mixture_address(mixture), workspace.store)
    return read_plan(published.folder() / PLAN) if published else None


def _size(corpus: Corpus, partitions: Mapping[str, Partition], workspace: Workspace) -> _Size:
    missing = []
    tokens = 0
    for key, partition in partitions.items():
        built = partition_artifacts(corpus, partition, workspace)[-1].is_current and workspace.store.open(cache_address(corpus, key))
        if built:
            tokens += built.manifest.counts.get("train", {"tokens": 0})["tokens"]
        else:
            missing.append(partition)
    if not missing:
        return _Size(tokens=tokens, is_exact=True)
    estimated = _estimated(corpus, missing, workspace)
    return _Size(
        tokens=tokens + round(estimated.tokens * (1 - sum(corpus.config.splits.values()))),
        is_exact=False,
        bytes_to_write=estimated.bytes_to_write,
        seconds=estimated.seconds,
    )


def _estimated(corpus: Corpus, partitions: Sequence[Partition], workspace: Workspace) -> _Size:
    """Estimate the tokens and cost of missing partitions from the beginning of the largest local one, or from their size alone."""
    try:
        with translate_missing_packages():
            return _probed(corpus, partitions, workspace)
    except MissingPackageError as problem:
        logger.warning("%s: its tokens are estimated from its size alone: %s", corpus.config.name, problem)
        return _from_size(sum(partition.bytes for partition in partitions), bytes_per_token=np.dtype(np.uint16).itemsize)


def _from_size(size: int, *, bytes_per_token: int) -> _Size:
    tokens = round(size / _BYTES_A_TOKEN)
    # Tokens are written twice: as rows and as an array.
    return _Size(tokens=tokens, is_exact=False, bytes_to_write=size + tokens * 2 * bytes_per_token, seconds=size / _BYTES_A_SECOND)


def _probed(corpus: Corpus, partitions: Sequence[Partition], workspace: Workspace) -> _Size:
    prepared = prepare_tokenizer(corpus, workspace.data, workspace.store)
    bytes_per_token = token_dtype(corpus, prepared).itemsize
    size = sum(partition.bytes for partition in partitions)
    here = [partition for partition in partitions if partition.is_local]
    if not here:  # nothing is fetched for an estimate
        return _from_size(size, bytes_per_token=bytes_per_token)
    probed = max(here, key=lambda partition: partition.bytes)
    conversations = conversation_recipe(corpus, prepared, workspace)
    encoding = prepared if conversations is None else conversations.prepared.bare
    exact = ExactTokenizer(workspace.engines.engines(encoding, workspace.store, corpus.config.special_tokens, corpus.config.engine))
    appends = eos_to_append(prepared, append_eos=corpus.config.append_eos) is not None
    consumed = tokens = 0
    started = time.perf_counter()
    for documents in islice(read_documents(corpus, readable(probed)), _PROBED):
        consumed += documents.consumed
        if conversations is not None:
            tokens += len(conversations.encode(documents, np.zeros(0, np.uint64), exact, 0).encoded.ids)
            continue
        tokens += len(exact.encode(documents.texts).ids) + appends * int(documents.nonempty.sum())
    seconds = time.perf_counter() - started
    scale = size / max(1, consumed)
    whole = round(tokens * scale)
    return _Size(tokens=whole, is_exact=False, bytes_to_write=whole * 2 * bytes_per_token, seconds=seconds * scale)
