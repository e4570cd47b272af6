"""Descriptions of artifacts for people to read: facts, statistics and sample documents."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.cache_folder import SplitArrays
from phyagi_assets.formats.npy import REMEDY
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.formatting import counted, listed
from phyagi_assets.inspection.caches import caches_of_corpus, without_retired
from phyagi_assets.inspection.missing import nothing_named
from phyagi_assets.inspection.report import Record, Report
from phyagi_assets.inspection.spans import Sample
from phyagi_assets.order.composition import composition, largest_deviation
from phyagi_assets.paths import real_path
from phyagi_assets.steps import cache, mixture
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.lengths import Lengths, array_lengths
from phyagi_assets.steps.mixture_facts import packing_facts, padding_facts
from phyagi_assets.steps.pins import pins_of
from phyagi_assets.steps.token_facts import SKIPPED, skipped_rows
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest

Part = dict[str, str | int | float]
"""One row of a table, with values by label."""
_SAMPLES, _TOKENS = 3, 48
"""Largest number of documents of a cache that are shown, and of tokens that are shown of each."""


class StoredArtifact(Record):
    """The manifest of an artifact, without the records of its files."""

    address: str
    """Address of the artifact, or the path by which it was named."""
    place: str
    """Path or address of the version."""
    step: str
    fingerprint: str
    code_version: str
    inputs: dict[str, Any]
    """Fingerprints of the inputs, by name."""
    settings: dict[str, Any]
    """The settings that change the output."""
    produced_with: dict[str, str]
    """Versions of the libraries that did the work, by name."""
    counts: dict[str, Any]
    """Numbers of documents, tokens, bytes and the like; those of a cache by split."""
    details: dict[str, Any]


_RECORDED = StoredArtifact.model_fields.keys() - {"address", "place"}


class InspectReport(Report):
    """The description of an artifact or a corpus."""

    report: Literal["inspect"] = "inspect"
    version: Literal[1] = 1
    title: str
    """Name of the step, or ``corpus`` or ``mixture`` and the name."""
    artifact: StoredArtifact | None = None
    """The artifact; None for a corpus."""
    facts: dict[str, str]
    """Values for people to read, by label."""
    parts: tuple[Part, ...] = ()
    """The corpora of a mixture, the partitions of a corpus, or the files of which rows were left out, with values by label."""
    lengths: Lengths | None = None
    """Distribution of document lengths, in tokens; None if there are no documents."""
    samples: tuple[Sample, ...] = ()


def inspect_artifact(folder: Path) -> InspectReport:
    """Describe an artifact, given the folder of a published artifact or of a version.

    Raises
    ------
    StoreError
        The folder holds no artifact, or the artifact is damaged.
    """
    path = real_path(folder)
    manifest = Manifest.read(path)
    damage = manifest.damage(path)
    if damage:
        raise StoreError("\n".join(damage))
    return describe(Artifact(address=str(folder), path=path, manifest=manifest))


def describe(artifact: Artifact) -> InspectReport:
    """Describe an artifact."""
    manifest = artifact.manifest
    stored = StoredArtifact(address=artifact.address, place=artifact.place, **{name: getattr(manifest, name) for name in _RECORDED})
    place = {"fingerprint": manifest.fingerprint, "path": artifact.place}
    recorded = {_label(name): value for name, value in {**manifest.counts, **manifest.details}.items() if name != SKIPPED}
    facts = {label: _flat(value) for label, value in {**recorded, **manifest.produced_with}.items()}
    if pins := pins_of(artifact):
        facts["read in place"] = _flat([pin.origin for pin in pins.values()])
    if manifest.step == mixture.MIXTURE.name:
        plan = plan_of(artifact)
        epoch = "epoch" if len(plan.segments) == 1 else "epoch of the last segment"
        facts = {epoch: f"{plan.current.drawn:,} samples of {plan.seq_len:,} tokens"} | facts | _order_facts(plan) | place
        return InspectReport(title=f"mixture {plan.name}", artifact=stored, facts=facts, parts=tuple(_corpora(plan)))
    step = FLOW.find(manifest.step)
    if not step or not step.lengths:
        return InspectReport(title=manifest.step, artifact=stored, facts=facts | place)
    if manifest.counts == {} or manifest.counts.get("tokens") == 0:
        facts["tokens"] = "0: the partition is empty"
    return InspectReport(
        title=manifest.step,
        artifact=stored,
        facts=facts | place,
        parts=tuple(_skipped([artifact])),
        lengths=Lengths.of(step.lengths(artifact)),
        samples=_samples(artifact, _SAMPLES) if step is cache.CACHE else (),
    )


def _order_facts(plan: Plan) -> dict[str, str]:
    return {
        "segments": _flat([f"from position {segment.start:,} on" for segment in plan.segments]),
        "in no sample": f"{plan.uncovered():,} of {plan.total('train', 'tokens'):,} training tokens",
        **padding_facts(plan),
        "deviation": f"{largest_deviation(plan):.3g} samples at most from the weights, at any prefix",
    }


def inspect_corpus(store: Store, name: str, keys: Collection[str] | None = None) -> InspectReport:
    """Describe the published caches of a corpus.

    Parameters
    ----------
    keys
        Keys of the partitions in the source. The others are retired: they are named, and counted only if there
        are no others. By default, no partition is retired.

    Raises
    ------
    StoreError
        The store has no published cache of the corpus.
    """
    published = caches_of_corpus(name, store)
    if not published:
        raise nothing_named(name, store)
    caches, retired = without_retired(published, keys)
    parts = tuple(
        {"partition": key, **{f"{split} tokens": counts["tokens"] for split, counts in artifact.manifest.counts.items()}}
        for key, artifact in caches.items()
    )
    lengths = np.concatenate([array_lengths(artifact) for artifact in caches.values()])
    shown = next((samples for artifact in caches.values() if (samples := _samples(artifact, 1))), ())
    facts = _corpus_facts(caches, retired)
    return InspectReport(title=f"corpus {name}", facts=facts, parts=parts, lengths=Lengths.of(lengths), samples=shown)


def _corpus_facts(caches: Mapping[str, Artifact], retired: Sequence[str]) -> dict[str, str]:
    """Return the facts about a corpus, given its caches by partition and the keys of its retired partitions."""
    counted_each = [cache.CACHE.totals(artifact.manifest) for artifact in caches.values()]
    totals = {count: sum(counts[count] for counts in counted_each) for count in ("documents", "tokens")}
    facts = {"partitions": _flat(len(caches)), **{count: _flat(total) for count, total in totals.items()}}
    details = next(iter(caches.values())).manifest.details
    facts |= {key: _flat(details[key]) for key in ("dtype", "tokenizer", "engine")}
    facts |= cache.trained_facts(artifact.manifest for artifact in caches.values())
    if skipped := _skipped(caches.values()):
        files = _flat([f"{file['file']} ({_flat(file['rows left out'])})" for file in skipped])
        facts["rows left out"] = f"{sum(int(file['rows left out']) for file in skipped):,}: {files}"
    if retired:
        facts["retired partitions"] = f"{counted(len(retired), 'partition')} whose files are gone, not counted: {_flat(retired)}"
    if empty := [key for key, artifact in caches.items() if not artifact.manifest.counts]:
        facts["empty partitions"] = f"{len(empty):,}: {_flat(empty)}"
    return facts


def _skipped(artifacts: Iterable[Artifact]) -> list[Part]:
    """Return one table row per file with left-out rows."""
    return [row for artifact in artifacts for row in skipped_rows(artifact.manifest)]


def _corpora(plan: Plan) -> list[Part]:
    return [
        {
            "corpus": component.corpus,
            "declared": component.amount,
            "partitions": component.partitions,
            **{f"{split} tokens": plan.total(split, "tokens", source) for split in SPLITS if plan.total(split, "tokens")},
            "in no sample": component.uncovered,
            **packing_facts(component, plan),
            "samples in an epoch": component.drawn,
            "part": component.part,
            "epochs": component.epochs,
        }
        for component, source in zip(composition(plan), plan.current.sources, strict=True)
    ]


def _samples(artifact: Artifact, count: int) -> tuple[Sample, ...]:
    """Return documents spread evenly over the split with the most tokens; none if the partition is empty."""
    splits = [split for split in SPLITS if split in artifact.manifest.counts]
    if not splits:
        return ()
    split = max(splits, key=lambda split: artifact.manifest.counts[split]["tokens"])
    found, files = SplitArrays(artifact.folder(), artifact.manifest, split), artifact.manifest.details["files"]
    ends, sources = found.ends, found.origins[:, 0]
    if not len(ends) or (np.diff(ends, prepend=0) <= 0).any() or sources.min() < 0 or sources.max() >= len(files):
        raise StoreError(f"{artifact.place}: the documents of {split} do not fit its tokens; {REMEDY}")
    chosen = np.unique(np.linspace(0, len(ends) - 1, min(count, len(ends))).astype(int)).tolist()
    return tuple(Sample.of(found, index, _TOKENS) for index in chosen)


def _label(name: str) -> str:
    """Return the name of a count or detail in words."""
    return mixture.LEFT_OUT_LABEL if name == mixture.LEFT_OUT else name.replace("_", " ")


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items())
    if isinstance(value, list):
        return listed(value, 8)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
