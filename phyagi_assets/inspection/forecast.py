"""What a run over a mixture would read, and what building it would take, before anything is built."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from phyagi_assets.build.staleness import corpus_links
from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.formats.plan import PLAN, Plan, samples_in
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.order.planning import amounts
from phyagi_assets.order.schedule import Interleaved, InTurn
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import Partition, readable
from phyagi_assets.steps.cache import cache_address
from phyagi_assets.steps.encoding import eos_to_append, token_dtype
from phyagi_assets.steps.mixture import mixture_address, standing_mixture, wanted_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.tokenizers.exact import ExactTokenizer
from phyagi_assets.tokenizers.prepare import prepare_tokenizer

_PROBED = 4
"""Batches of a megabyte that are encoded to learn how many tokens the text has, and how fast they come."""
_BYTES_A_TOKEN = 4.3
"""Of English text; taken for what lies elsewhere and was never fetched."""
_BYTES_A_SECOND = 50e6
"""Of such text, fetched and encoded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusForecast:
    """A corpus in a run."""

    corpus: str
    amount: str
    """As declared: ``×1.5`` or ``30 %``."""
    tokens: int
    """Training tokens that it has, or will have."""
    is_exact: bool
    """Whether all of it is built, so that its tokens are counted and not estimated."""
    uncovered: int
    """Training tokens of it that are in no sample."""
    read: int
    """Tokens of it that the run reads."""
    epochs: float
    """How often the run reads it."""
    max_epochs: float | None

    @property
    def repeats_too_often(self) -> bool:
        """Whether it is read more often than declared."""
        return self.max_epochs is not None and self.epochs > self.max_epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """A run over a mixture."""

    mixture: str
    tokens: int
    """Tokens that the run reads."""
    epochs: float
    """Of the mixture."""
    corpora: tuple[CorpusForecast, ...]
    bytes_to_write: int
    """Disk that building takes."""
    seconds: float
    """Time that building takes, about."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Size:
    """Training tokens of a corpus, and what is not built of it."""

    tokens: int
    is_exact: bool
    bytes_to_write: int = 0
    seconds: float = 0.0


def forecast(mixture: Mixture, corpora: Mapping[str, Corpus], workspace: Workspace, tokens: int | None = None) -> Forecast:
    """Forecast a run.

    Parameters
    ----------
    tokens
        That the run reads; by default an epoch of the mixture.

    Raises
    ------
    DeclarationError, SourceError, TokenizerError
        What would keep it from being built.
    """
    config = mixture.config
    sizes = [_size(corpora[part.corpus], workspace) for part in config.datasets]
    standing = _standing(mixture, corpora, workspace) if all(size.is_exact for size in sizes) else None
    if standing:
        samples = [source.samples for source in standing.current.sources]
        rates = [(source.rate, source.drawn) for source in standing.current.sources]
    else:
        samples = [max(1, samples_in(size.tokens, config.seq_len)) for size in sizes]
        rates = amounts(config.datasets, samples)
    epoch = sum(drawn for _, drawn in rates)
    positions = epoch if tokens is None else math.ceil(tokens / config.seq_len)
    schedule = Interleaved([rate for rate, _ in rates]) if config.concat == "interleaved" else InTurn([drawn for _, drawn in rates])
    given = schedule.given(positions).tolist()
    return Forecast(
        mixture=config.name,
        tokens=positions * config.seq_len,
        epochs=positions / epoch,
        corpora=tuple(
            CorpusForecast(
                corpus=part.corpus,
                amount=f"{100 * part.share:g} %" if part.share else f"×{part.weight:g}",
                tokens=size.tokens,
                is_exact=size.is_exact,
                uncovered=max(0, size.tokens - own * config.seq_len),
                read=count * config.seq_len,
                epochs=count / own,
                max_epochs=part.max_epochs,
            )
            for part, size, own, count in zip(config.datasets, sizes, samples, given, strict=True)
        ),
        bytes_to_write=sum(size.bytes_to_write for size in sizes),
        seconds=sum(size.seconds for size in sizes),
    )


def _standing(mixture: Mixture, corpora: Mapping[str, Corpus], workspace: Workspace) -> Plan | None:
    """Return the published plan, if it is what the mixture has to be: its samples are counted, whatever release cut them."""
    caches = {
        part.corpus: {
            key: corpus_links(corpora[part.corpus], partition, workspace)[-1].wanted or ""
            for key, partition in workspace.sources.partitions(corpora[part.corpus]).items()
        }
        for part in mixture.config.datasets
    }
    published = standing_mixture(wanted_mixture(mixture, caches), mixture_address(mixture), workspace.store)
    return read_plan(published.path / PLAN) if published else None


def _size(corpus: Corpus, workspace: Workspace) -> _Size:
    partitions = workspace.sources.partitions(corpus)
    missing = []
    tokens = 0
    for key, partition in partitions.items():
        built = corpus_links(corpus, partition, workspace)[-1].stands and workspace.store.open(cache_address(corpus, key))
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
    """All of what is missing, judged by the beginning of its largest partition that is here."""
    prepared = prepare_tokenizer(corpus, workspace.data, workspace.store)
    twice = 2 * token_dtype(corpus, prepared).itemsize  # as rows and as an array
    size = sum(partition.bytes for partition in partitions)
    here = [partition for partition in partitions if partition.is_local]
    if not here:  # and nothing is fetched to tell
        whole = round(size / _BYTES_A_TOKEN)
        return _Size(tokens=whole, is_exact=False, bytes_to_write=size + whole * twice, seconds=size / _BYTES_A_SECOND)
    probed = max(here, key=lambda partition: partition.bytes)
    exact = ExactTokenizer(workspace.engines.engines(prepared, workspace.store, corpus.config.special_tokens))
    appends = eos_to_append(prepared, append_eos=corpus.config.append_eos) is not None
    consumed = tokens = 0
    started = time.perf_counter()
    for documents in islice(read_documents(corpus, readable(probed)), _PROBED):
        consumed += documents.consumed
        tokens += len(exact.encode(documents.texts).ids) + appends * int(documents.nonempty.sum())
    seconds = time.perf_counter() - started
    scale = size / max(1, consumed)
    whole = round(tokens * scale)
    return _Size(tokens=whole, is_exact=False, bytes_to_write=whole * twice, seconds=seconds * scale)
