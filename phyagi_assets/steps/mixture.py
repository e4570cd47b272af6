"""mixed_dataset: the plan of a mixture, which lists the caches to read and the order of their samples.

The plan copies no tokens. It refers to versions of the caches, not to their addresses, so that a training run reads the same bytes after a
refresh.
"""

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.declare.schema import SPLITS, MixtureConfig, MixturePart
from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.formats.cache_folder import PIECES, array_path
from phyagi_assets.formats.cache_tokenizer import SAVED
from phyagi_assets.formats.packed_index import index_version, planned_index
from phyagi_assets.formats.plan import PLAN, Plan, PlannedCorpus, PlannedPartition, PlannedPiece, Shard, Window
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.formats.plan_paths import PlanPaths
from phyagi_assets.formatting import counted, listed
from phyagi_assets.order.planning import evaluated_corpus, extended, first_plan, stages_from, until, with_evaluation
from phyagi_assets.paths import real_path
from phyagi_assets.steps.cache import CACHE, cache_address
from phyagi_assets.steps.checks.check import FILES, SOUND, check_found
from phyagi_assets.steps.checks.plans import check_plan
from phyagi_assets.steps.mixture_facts import mixture_facts
from phyagi_assets.steps.packed_index import build_index, without_documents
from phyagi_assets.steps.step import Built, Option, Scope, Step, Workspace, reuse_or_build
from phyagi_assets.store.base import Address, Artifact, Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.padding import padding_id

logger = logging.getLogger(__name__)

STAGE = "mixed_dataset"
LEFT_OUT = "left_out"
"""Detail of a plan: the partitions (``corpus/partition``) that were left out when it was written, because they had failed. It is not part
of the fingerprint: the plan is that of the partitions that it names."""
APPENDED = "appended"
"""Setting of a plan that continues an earlier plan: the fingerprint of that plan, and the position at which the new segment starts."""
CODE_VERSION = "3"
AT_POSITION = "at_position"
_CURRENT_CODE_VERSIONS = (CODE_VERSION, "2")
"""Code versions of published plans that are not rebuilt as long as their inputs and settings stay the same."""
_BY_DEFAULT = "packed_by_default"
"""Detail of an expected manifest: the corpora that are packed although nothing declares so."""
_STAGES = "stages"
"""Setting of a plan with stages, which takes the place of the setting ``datasets``."""
_MOST_DRAWN = 1 << 52
"""Largest number of samples in an epoch of a mixture, and largest sum of rates."""

_LISTED = 20
"""Largest number of partitions that a message lists."""

Caches = Mapping[str, Sequence[Artifact]]


def mixture_address(mixture: Mixture) -> str:
    """Return the address of a mixture's plan."""
    return f"{mixture.config.name}/{STAGE}"


def published_caches(
    mixture: Mixture, corpora: Mapping[str, Corpus], partitions: Mapping[str, Sequence[str]], store: Store
) -> dict[str, list[Artifact]]:
    """Return the published caches of each corpus of a mixture, sorted by partition key; the arguments are those of `build_mixture`.

    Raises
    ------
    MissingArtifactsError
        Some caches are missing or damaged, or a corpus has no partitions; the error lists all of them.
    """
    caches: dict[str, list[Artifact]] = {}
    missing = []
    for name in mixture.config.corpora:
        found = []
        for key in sorted(partitions[name]):
            address = cache_address(corpora[name], key)
            store.restore(address)
            artifact = store.open(address, intact=True)
            if artifact is None:
                missing.append(address)
            else:
                found.append(_with_version_path(artifact, store))
        if not partitions[name]:
            missing.append(f"{name} (it has no partitions yet)")
        caches[name] = found
    if missing:
        raise MissingArtifactsError(mixture_address(mixture), missing)
    return caches


def expected_mixture(mixture: Mixture, caches: Mapping[str, Mapping[str, str]]) -> Manifest:
    """Return the expected manifest of a mixture's plan, given the fingerprints of its caches by corpus and partition."""
    config = mixture.config
    settings: dict[str, Any] = {
        "seq_len": config.seq_len,
        "seed": config.seed,
        "concat": config.concat,
        "shuffle": asdict(shuffle) if isinstance(shuffle := _planned_shuffle(config), Window) else shuffle,
    }
    if config.stages is None:
        settings["datasets"] = _drawn(config, config.parts)
    else:
        settings[_STAGES] = [{"start": start, "datasets": _drawn(config, parts)} for start, parts in config.timeline]
    if config.evaluation:
        settings["evaluation"] = list(config.evaluation)
    inputs = {corpus: dict(of) for corpus, of in caches.items()}
    wanted = Manifest.expected(STAGE, code_version=CODE_VERSION, inputs=inputs, settings=settings)
    by_default = [part.corpus for part in config.parts if config.is_packed_by_default(part)]
    return replace(wanted, details={_BY_DEFAULT: by_default}) if by_default else wanted


def _planned_shuffle(config: MixtureConfig) -> bool | Window:
    return config.shuffle if isinstance(config.shuffle, bool) else Window(window=config.shuffle.window)


def _drawn(config: MixtureConfig, parts: Sequence[MixturePart]) -> list[dict[str, Any]]:
    """Return the settings that determine how often each corpus of a stage is drawn, and how it becomes samples."""
    return [
        {
            **({"corpus": part.corpus, "share": part.share} if part.share else {"corpus": part.corpus, "weight": part.weight}),
            **({"packing": packing} if (packing := config.packing_of(part)) != "concat" else {}),
        }
        for part in parts
    ]


def published_mixture(wanted: Manifest, address: str, store: Store) -> Artifact | None:
    """Return the published plan if its current segment reads what `wanted` says; earlier segments are ignored.

    The indices of packed samples have to be there: a mixture whose index is missing is not current.
    """
    published = _published_as(wanted, address, store)
    return published if published and _has_indices(published.manifest, store) else None


def _published_as(wanted: Manifest, address: str, store: Store) -> Artifact | None:
    """Return the published plan if its inputs and settings are the wanted ones."""
    published = store.open(address, intact=True)
    if published is None:
        return None
    settings = {key: value for key, value in published.manifest.settings.items() if key != APPENDED}
    same = published.manifest.inputs == wanted.inputs and settings in (wanted.settings, _before_packing(wanted))
    return _with_version_path(published, store) if same and published.manifest.code_version in _CURRENT_CODE_VERSIONS else None


def _packed_corpora(manifest: Manifest) -> list[str]:
    """Return the corpora that a plan packs, given its manifest."""
    settings = manifest.settings
    stages = [settings["datasets"]] if "datasets" in settings else [stage["datasets"] for stage in settings[_STAGES]]
    return list(dict.fromkeys(part["corpus"] for parts in stages for part in parts if part.get("packing") == "best_fit"))


def _has_indices(manifest: Manifest, store: Store) -> bool:
    """Return whether the indices of the packed corpora of a plan are in the store."""
    versions = (
        index_version(corpus, key, fingerprint, manifest.settings["seq_len"])
        for corpus in _packed_corpora(manifest)
        for key, fingerprint in manifest.inputs[corpus].items()
    )
    return all(store.find(version.address, version.fingerprint) is not None for version in versions)


def _before_packing(wanted: Manifest) -> Mapping[str, Any]:
    """Return the settings of a plan by a release without packing, which stays current where packing is not declared."""
    by_default = wanted.details.get(_BY_DEFAULT, ())
    if "datasets" not in wanted.settings:  # stages are as young as packing
        return wanted.settings
    parts = [
        {key: value for key, value in part.items() if key != "packing" or part["corpus"] not in by_default}
        for part in wanted.settings["datasets"]
    ]
    return {**wanted.settings, "datasets": parts}


def _with_version_path(artifact: Artifact, store: Store) -> Artifact:
    """Return an artifact with its path in the store, which stays valid if the folder of its corpus or mixture is moved and linked."""
    place = store.version_path(artifact.address, artifact.fingerprint)
    return replace(artifact, path=place) if place.is_dir() else artifact


def build_mixture(
    mixture: Mixture,
    corpora: Mapping[str, Corpus],
    partitions: Mapping[str, Sequence[str]],
    workspace: Workspace,
    at_position: int | None = None,
    *,
    left_out: Sequence[str] = (),
) -> Built:
    """Write the plan of a mixture over the published caches.

    Parameters
    ----------
    partitions
        Keys of the partitions of each corpus that are read, by name of the corpus.
    at_position
        Position at which a new segment is appended to the published plan. By default, a new plan replaces the published one.
    left_out
        Partitions that are not read because they failed, as ``corpus/partition``; they are recorded and logged.

    Raises
    ------
    MissingArtifactsError
        The cache of a partition is missing or damaged.
    DeclarationError
        The corpora have different tokenizers or dtypes, a corpus has too few training tokens for one sample, the weights draw more samples
        than can be counted, or the new segment does not fit the published plan.
    """
    if left_out:
        what = counted(len(left_out), "partition")
        logger.warning("%s leaves out %s that failed: %s", mixture.config.name, what, listed(left_out, _LISTED))
    with workspace.store.planning():  # keeps the versions that the plan names in place until it is published
        return _build(mixture, corpora, partitions, workspace, at_position, left_out)


def _build(
    mixture: Mixture,
    corpora: Mapping[str, Corpus],
    partitions: Mapping[str, Sequence[str]],
    workspace: Workspace,
    at: int | None,
    left_out: Sequence[str],
) -> Built:
    caches = published_caches(mixture, corpora, partitions, workspace.store)
    wanted = expected_mixture(mixture, {corpus: {_key(cache): cache.fingerprint for cache in found} for corpus, found in caches.items()})
    _check_alike(mixture, caches)
    address = mixture_address(mixture)
    published = _published_as(wanted, address, workspace.store)
    if published:
        if _packed_corpora(published.manifest):
            _indices(mixture, caches, workspace.store)  # builds those that are gone
        checks = check_found(published, lambda found: check_plan(found, workspace.store))
        if checks[0].passed or APPENDED in published.manifest.settings:  # earlier segments cannot be rebuilt from the current caches
            return Built(artifact=published, reused=True, seconds=0.0, checks=checks)
        at = None
    earlier = _to_extend(mixture, caches, workspace.store, at) if at is not None else None
    indices = _indices(mixture, caches, workspace.store)
    if earlier:
        appended = {**wanted.settings, APPENDED: {"to": earlier.fingerprint, "at": at}}
        wanted = Manifest.expected(STAGE, code_version=CODE_VERSION, inputs=wanted.inputs, settings=appended)

    def fill(folder: Path) -> Manifest:
        # Paths are relative to the place of the published plan; all versions of a plan lie equally deep.
        home = workspace.store.version_path(address, wanted.fingerprint)
        if home.parents[1].is_symlink():  # relative paths start at the target of the link, not at the link
            home = real_path(home.parents[1]) / home.relative_to(home.parents[1])
        found = {name: [_planned(cache, home, indices.get(cache.address)) for cache in of] for name, of in caches.items()}
        check_lengths(mixture, {name: _training_tokens(of) for name, of in found.items()})
        stages = stages_from(at or 0, mixture.config.timeline)
        first = next(iter(caches.values()))[0]
        pad_id = padding_id(first.folder(SAVED) / SAVED, first.manifest.details["dtype"])
        if earlier and at is not None:
            plan = _with_paths_from(home, earlier, workspace.store.version_path(address, earlier.fingerprint))
            plan = extended(plan, wanted.fingerprint, at, stages[0][1], found, pad_id=pad_id)
        else:
            parts = stages[0][1]
            planned = tuple(PlannedCorpus(name=part.corpus, partitions=tuple(found[part.corpus])) for part in parts)
            plan = Plan(
                name=mixture.config.name,
                fingerprint=wanted.fingerprint,
                seq_len=mixture.config.seq_len,
                seed=mixture.config.seed,
                dtype=first.manifest.details["dtype"],
                tokenizer=os.path.relpath(first.path / SAVED, home),
                concat=mixture.config.concat,
                shuffle=_planned_shuffle(mixture.config),
                corpora=planned,
                segments=(),
                pad_id=pad_id,
            )
            plan = first_plan(plan, parts)
        for start, parts in stages[1:]:
            plan = replace(extended(plan, wanted.fingerprint, start, parts, found), ancestors=plan.ancestors)
        plan = with_evaluation(plan, [evaluated_corpus(name, found[name]) for name in mixture.config.evaluation])
        for name in (name for name, of in plan.evaluated() if not of.total("validation", "tokens")):
            logger.warning("%s: the corpus %s, for evaluation only, has no tokens; it is not in validation_by_corpus", plan.name, name)
        _check_draws(mixture, plan)
        (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
        counts = {split: {count: plan.total(split, count) for count in ("documents", "tokens", "samples")} for split in SPLITS}
        engines = {cache.manifest.details["engine"] for of_corpus in caches.values() for cache in of_corpus}
        tokenizer = next(iter(caches.values()))[0].manifest.details["tokenizer_fingerprint"]
        details: dict[str, Any] = {"engine": ", ".join(sorted(engines)), "tokenizer_fingerprint": tokenizer}
        details |= {LEFT_OUT: list(left_out)} if left_out else {}
        return replace(wanted, counts={split: of for split, of in counts.items() if of["tokens"]}, details=details)

    return reuse_or_build(workspace.store, address, wanted, fill, examine=lambda artifact: check_plan(artifact, workspace.store))


def _to_extend(mixture: Mixture, caches: Caches, store: Store, at: int) -> Plan:
    """Return the published plan; raise a `DeclarationError` if no segment with the mixture's settings can start at the position `at`."""
    published = store.open(mixture_address(mixture))
    if published is None:
        raise mixture.error(f"nothing is published that a segment at position {at:,} could go on from; materialize it without a position")
    plan = read_plan(published.folder() / PLAN)
    settings = published.manifest.settings
    begun = settings.get(APPENDED, {"at": 0})["at"] if _STAGES in settings else plan.current.start  # stages that begin later are replaced
    if at <= begun:
        raise mixture.error(f"a segment begins at position {begun:,} already; the next one begins after it, not at {at:,}")
    tokenizer, dtype = (next(iter(caches.values()))[0].manifest.details[key] for key in ("tokenizer_fingerprint", "dtype"))
    if (published.manifest.details["tokenizer_fingerprint"], plan.dtype) != (tokenizer, dtype):
        raise mixture.error(
            "its corpora have another tokenizer or dtype than before, which a segment cannot change; materialize it without"
        )
    config = mixture.config
    declared = {"seq_len": config.seq_len, "seed": config.seed, "concat": config.concat, "shuffle": _planned_shuffle(config)}
    for key, now in declared.items():
        if (before := getattr(plan, key)) != now:
            one, other = (f"within {of.window:,} bytes" if isinstance(of, Window) else repr(of) for of in (now, before))
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


def _indices(mixture: Mixture, caches: Caches, store: Store) -> dict[str, Artifact]:
    """Return the indices of packed samples by address of the cache; build those that the store does not have."""
    found = {}
    for key, part in mixture.config.all_parts:
        if mixture.config.packing_of(part) != "best_fit":
            continue
        at = (*key, "packing") if part.packing else ("packing",) if mixture.config.packing else (*key, "corpus")
        for cache in caches[part.corpus]:
            if missing := without_documents(cache):
                message = f"best_fit packs whole documents, and {cache.place} has no {missing}, which says where they end"
                raise mixture.error(f"{message}; use packing: concat, or build the cache with phyagi-assets materialize", *at)
            index = build_index(cache, mixture.config.seq_len, store)
            found[cache.address] = _with_version_path(index, store)
    return found


def _training_tokens(partitions: Sequence[PlannedPartition]) -> int:
    return sum(partition.shards["train"].tokens for partition in partitions if "train" in partition.shards)


def check_lengths(mixture: Mixture, tokens_by_corpus: Mapping[str, int]) -> None:
    """Check that each corpus has enough training tokens for a sample; corpora without a number are not checked.

    Raises
    ------
    DeclarationError
        A corpus has too few.
    """
    seq_len = mixture.config.seq_len
    for key, part in mixture.config.all_parts:
        tokens = tokens_by_corpus.get(part.corpus)
        if tokens is None:
            continue
        if mixture.config.packing_of(part) == "best_fit":
            if not tokens:
                raise mixture.error(f"{part.corpus!r} has no training tokens; add documents", *key, "corpus")
        elif tokens <= seq_len:
            message = f"{part.corpus!r} has {tokens:,} training tokens, and one sample takes seq_len + 1 = {seq_len + 1:,}"
            raise mixture.error(f"{message}; lower seq_len, or add documents", *key, "corpus")


def _check_draws(mixture: Mixture, plan: Plan) -> None:
    """Raise a `DeclarationError` if the weights make an epoch so long that positions do not fit into 64 bits."""
    for segment in plan.segments:
        if max(sum(source.rate for source in segment.sources), segment.drawn) > _MOST_DRAWN:
            heaviest = max(segment.sources, key=lambda source: source.drawn)
            message = f"{heaviest.amount} makes an epoch of the mixture {segment.drawn:,} samples long; the most is {_MOST_DRAWN:,}"
            name = plan.corpora[heaviest.corpus].name
            key = next((key for key, part in mixture.config.all_parts if part.corpus == name), ())
            raise mixture.error(message, *key, "share" if heaviest.weight is None else "weight")


def _key(cache: Artifact) -> str:
    return Address(cache.address).key


def _planned(cache: Artifact, home: Path, index: Artifact | None) -> PlannedPartition:
    shards = {
        split: Shard(path=os.path.relpath(array_path(cache.path, split), home), **of, pieces=_planned_pieces(cache.manifest, split))
        for split, of in cache.manifest.counts.items()
    }
    of_index = planned_index(index, os.path.relpath(index.path, home)) if index else None
    return PlannedPartition(key=_key(cache), fingerprint=cache.fingerprint, shards=shards, index=of_index)


def _planned_pieces(cache: Manifest, split: str) -> tuple[PlannedPiece, ...]:
    pieces = cache.details.get(PIECES, {}).get(split, ())
    return tuple(PlannedPiece(number=of["number"], tokens=of["tokens"]) for of in pieces)


def _check_alike(mixture: Mixture, caches: Caches) -> None:
    """Check that all caches have the same tokenizer and dtype: one model reads them all, so an id must mean the same in every corpus."""
    for what, of in (("tokenizer", "tokenizer_fingerprint"), ("dtype", "dtype")):
        found = {cache.manifest.details[of]: name for name, artifacts in caches.items() for cache in artifacts}
        if len(found) > 1:
            one, other = list(found.values())[:2]
            message = (
                f"{one!r} and {other!r} have not the same {what}" if one != other else f"partitions of {one!r} have not the same {what}"
            )
            raise mixture.error(
                f"{message}; bring them up to date, or declare the same {what} for both", _STAGES if mixture.config.stages else "datasets"
            )


def _expected(mixture: Mixture, _workspace: Workspace, inputs: Mapping[str, Mapping[str, str]]) -> Manifest:
    return expected_mixture(mixture, inputs)


def _published(expected: Manifest, address: str, store: Store, _holding: Collection[str]) -> Artifact | None:
    return published_mixture(expected, address, store)


MIXTURE = Step(
    name=STAGE,
    scope=Scope.MIXTURE,
    code_version=CODE_VERSION,
    input=CACHE.name,
    description="The plan of the mixture: which token arrays, with what weights, in what order.",
    kinds=frozenset({"json"}),
    expected=_expected,
    build=build_mixture,
    published=_published,
    checks={
        SOUND: f"{FILES}; every array that the plan names is there, with as many tokens as it says; the samples of arrays and "
        "corpora add up.",
    },
    facts=mixture_facts,
    options={
        AT_POSITION: Option(
            default=None,
            description="Position of training from which on the corpora and weights are read as they are now; what comes before stays as "
            "it was. Without one, a new plan replaces the old one.",
        )
    },
)
