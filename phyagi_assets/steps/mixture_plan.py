"""The plan of a mixture over its caches: a new one, or the continuation of an earlier one."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from phyagi_assets.declare.catalog import Mixture
from phyagi_assets.formats.cache_folder import PIECES, array_path
from phyagi_assets.formats.cache_tokenizer import SAVED
from phyagi_assets.formats.packed_index import planned_index
from phyagi_assets.formats.plan import Plan, PlannedCorpus, PlannedPartition, PlannedPiece, Shard, Window
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.order.planning import evaluated_corpus, extended, first_plan, stages_from, until, with_evaluation
from phyagi_assets.paths import real_path
from phyagi_assets.steps.mixture_caches import Caches, check_lengths, first_cache, partition_key
from phyagi_assets.steps.mixture_version import APPENDED, STAGES, mixture_address, planned_shuffle
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.tokenizers.padding import padding_id

logger = logging.getLogger(__name__)

_MOST_DRAWN = 1 << 52
"""Largest number of samples in an epoch of a mixture, and largest sum of rates."""


def plan_mixture(
    mixture: Mixture, caches: Caches, indices: Mapping[str, Artifact], earlier: Plan | None, *, at: int, fingerprint: str, store: Store
) -> Plan:
    """Return the plan of a mixture over its caches.

    Parameters
    ----------
    indices
        Indices of packed samples, by address of the cache.
    earlier
        Plan that the new one continues, which ends before the position `at`; None for a plan that begins there.
    """
    address = mixture_address(mixture)
    home = _home(store.version_path(address, fingerprint))
    found = {name: [_planned(cache, home, indices.get(cache.address)) for cache in artifacts] for name, artifacts in caches.items()}
    check_lengths(mixture, {name: _training_tokens(partitions) for name, partitions in found.items()})
    (_, parts), *later = stages_from(at, mixture.config.timeline)
    if earlier is None:
        corpora = tuple(PlannedCorpus(name=part.corpus, partitions=tuple(found[part.corpus])) for part in parts)
        plan = first_plan(_without_segments(mixture, first_cache(caches), corpora, fingerprint, home), parts)
    else:
        earlier = _with_paths_from(home, earlier, store.version_path(address, earlier.fingerprint))
        plan = extended(earlier, fingerprint, at, parts, found, pad_id=_pad_id(first_cache(caches)))
    for start, parts_then in later:
        plan = replace(extended(plan, fingerprint, start, parts_then, found), ancestors=plan.ancestors)
    plan = with_evaluation(plan, [evaluated_corpus(name, found[name]) for name in mixture.config.evaluation])
    for name in (name for name, evaluated_plan in plan.evaluated() if not evaluated_plan.total("validation", "tokens")):
        logger.warning("%s: the corpus %s, for evaluation only, has no tokens; it is not in validation_by_corpus", plan.name, name)
    trained = {part.corpus for stage in (parts, *(then for _, then in later)) for part in stage}
    for split in _empty_splits([cache for name in trained for cache in caches[name]]):
        logger.warning(
            "%s: its %s split is empty, although corpora declare it: no document is in the declared shares; raise them", plan.name, split
        )
    _check_draws(mixture, plan)
    return plan


def _empty_splits(caches: Sequence[Artifact]) -> list[str]:
    """Return the splits that some of the caches declare, and that are empty in all of them."""
    declared = {split for cache in caches for split in cache.manifest.settings.get("splits", {})}
    return sorted(declared - {split for cache in caches for split, counts in cache.manifest.counts.items() if counts["documents"]})


def _home(version: Path) -> Path:
    """Return the folder that the paths of a plan are relative to, given that of its version. All versions of a plan have the same depth."""
    if not version.parents[1].is_symlink():
        return version
    # Relative paths start at the target of the link, not at the link.
    return real_path(version.parents[1]) / version.relative_to(version.parents[1])


def _without_segments(mixture: Mixture, first: Artifact, corpora: Sequence[PlannedCorpus], fingerprint: str, home: Path) -> Plan:
    """Return a plan that has no order yet, given one of its caches, which all have the same tokenizer and dtype."""
    config = mixture.config
    return Plan(
        name=config.name,
        fingerprint=fingerprint,
        seq_len=config.seq_len,
        seed=config.seed,
        dtype=first.manifest.details["dtype"],
        tokenizer=os.path.relpath(first.path / SAVED, home),
        concat=config.concat,
        shuffle=planned_shuffle(config),
        corpora=tuple(corpora),
        segments=(),
        pad_id=_pad_id(first),
    )


def _pad_id(cache: Artifact) -> int:
    return padding_id(cache.folder(SAVED) / SAVED, cache.manifest.details["dtype"])


def plan_to_extend(mixture: Mixture, caches: Caches, store: Store, at: int) -> Plan:
    """Return the published plan; raise a `DeclarationError` if no segment with the mixture's settings can start at the position `at`."""
    published = store.open(mixture_address(mixture))
    if published is None:
        raise mixture.error(f"no plan is published that a segment at position {at:,} could continue; materialize it without a position")
    plan = plan_of(published)
    settings = published.manifest.settings
    latest = settings.get(APPENDED, {"at": 0})["at"] if STAGES in settings else plan.current.start  # stages that begin later are replaced
    if at <= latest:
        raise mixture.error(f"a segment begins at position {latest:,} already; the next one begins after it, not at {at:,}")
    tokenizer, dtype = (first_cache(caches).manifest.details[key] for key in ("tokenizer_fingerprint", "dtype"))
    if (published.manifest.details["tokenizer_fingerprint"], plan.dtype) != (tokenizer, dtype):
        raise mixture.error(
            "its corpora have another tokenizer or dtype than before, which a segment cannot change; materialize it without"
        )
    config = mixture.config
    declared = {"seq_len": config.seq_len, "seed": config.seed, "concat": config.concat, "shuffle": planned_shuffle(config)}
    for key, now in declared.items():
        if (before := getattr(plan, key)) != now:
            one, other = (f"within {shuffle.window:,} bytes" if isinstance(shuffle, Window) else repr(shuffle) for shuffle in (now, before))
            raise mixture.error(f"is {one} and was {other}, which a segment cannot change; materialize without a position", key)
    return until(plan, at)


def _with_paths_from(home: Path, plan: Plan, folder: Path) -> Plan:
    """Return a plan with its paths made relative to `home` if they no longer resolve from the folder of the plan."""
    paths = PlanPaths(plan, folder)
    if not paths.is_moved:
        return plan

    def rebased(path: str) -> str:
        return path and os.path.relpath(paths.resolve(path), real_path(home))

    def moved(partition: PlannedPartition) -> PlannedPartition:
        shards = {split: replace(shard, path=rebased(shard.path)) for split, shard in partition.shards.items()}
        index = partition.index and replace(partition.index, path=rebased(partition.index.path))
        return replace(partition, shards=shards, index=index)

    corpora = tuple(replace(corpus, partitions=tuple(map(moved, corpus.partitions))) for corpus in plan.corpora)
    return replace(plan, tokenizer=rebased(plan.tokenizer), corpora=corpora)


def _training_tokens(partitions: Sequence[PlannedPartition]) -> int:
    return sum(partition.shards["train"].tokens for partition in partitions if "train" in partition.shards)


def _check_draws(mixture: Mixture, plan: Plan) -> None:
    """Raise a `DeclarationError` if the weights make an epoch so long that positions do not fit into 64 bits."""
    for segment in plan.segments:
        if max(segment.total_rate, segment.drawn) > _MOST_DRAWN:
            heaviest = max(segment.sources, key=lambda source: source.drawn)
            message = f"{heaviest.amount} makes an epoch of the mixture {segment.drawn:,} samples long; the most is {_MOST_DRAWN:,}"
            name = plan.corpora[heaviest.corpus].name
            key = next((key for key, part in mixture.config.all_parts if part.corpus == name), ())
            raise mixture.error(message, *key, "share" if heaviest.weight is None else "weight")


def _planned(cache: Artifact, home: Path, index: Artifact | None) -> PlannedPartition:
    manifest = cache.manifest
    pieces = {
        split: tuple(PlannedPiece(number=piece["number"], tokens=piece["tokens"]) for piece in records)
        for split, records in manifest.details.get(PIECES, {}).items()
    }
    shards = {
        split: Shard(path=os.path.relpath(array_path(cache.path, split), home), **counts, pieces=pieces.get(split, ()))
        for split, counts in manifest.counts.items()
    }
    packed = planned_index(index, os.path.relpath(index.path, home)) if index else None
    return PlannedPartition(key=partition_key(cache), fingerprint=cache.fingerprint, shards=shards, index=packed)
