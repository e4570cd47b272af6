"""Collect the content of the report of a corpus or mixture: sizes, lengths, duplicates, composition, samples and fingerprints."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from phyagi_assets.declare.catalog import Catalog
from phyagi_assets.declare.splits import SPLITS
from phyagi_assets.formats.cache_folder import HASHES, SplitArrays, array_files
from phyagi_assets.formats.npy import open_array
from phyagi_assets.formats.plan import Plan
from phyagi_assets.formats.plan_file import plan_of
from phyagi_assets.inspection.caches import caches_of_corpus, without_retired
from phyagi_assets.inspection.explain import ExplainedSample, open_explainer
from phyagi_assets.inspection.missing import nothing_named
from phyagi_assets.inspection.spans import Sample
from phyagi_assets.order.composition import Component, composition
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.lengths import Lengths, array_lengths
from phyagi_assets.steps.step import Scope, Totals
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store

_COUNTED = 50_000_000
"""Largest number of documents whose duplicates are counted; each takes 8 bytes of memory."""
_TOKENS = 160
"""Largest number of tokens of a sample document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CorpusOverview:
    """A corpus and its published caches."""

    name: str
    description: str
    declaration: str
    """Content of the YAML file; empty if the corpus is not declared in the data folder."""
    caches: Mapping[str, Artifact]
    """The published caches, by partition."""
    fingerprints: Mapping[str, Mapping[str, str]]
    """Fingerprints of the published versions, by partition and step."""
    lengths: Lengths | None
    duplicates: int | None
    """Number of documents whose text occurs earlier in the corpus; None if there are too many documents to count."""
    samples: Sequence[Sample]
    missing: Sequence[str] = ()
    """Keys of the partitions in the source that have no published cache."""
    retired: Sequence[str] = ()
    """Keys of the published partitions that are no longer in the source. They are not counted."""

    @property
    def totals(self) -> dict[str, Totals]:
        """Numbers of documents and tokens, by partition."""
        return {key: CACHE.totals(cache.manifest) for key, cache in self.caches.items()}

    @property
    def tokens(self) -> dict[str, int]:
        """Number of tokens by split."""
        counts = [cache.manifest.counts for cache in self.caches.values()]
        return {split: tokens for split in SPLITS if (tokens := sum(each[split]["tokens"] for each in counts if split in each))}

    @property
    def documents(self) -> int:
        """Number of documents."""
        return sum(totals["documents"] for totals in self.totals.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class MixtureOverview:
    """A mixture, its plan and its corpora."""

    name: str
    description: str
    declaration: str
    """Content of the YAML file; empty if the mixture is not declared in the data folder."""
    fingerprint: str
    plan: Plan
    components: Sequence[Component]
    corpora: Sequence[CorpusOverview]
    """The corpora with the partitions that the plan reads."""
    unpublished: Sequence[str]
    """Names of the corpora of the mixture that are no longer published. The plan still reads the versions that it names."""
    samples: Sequence[ExplainedSample]


Overview = CorpusOverview | MixtureOverview


def overview(
    name: str, store: Store, place: str | Path, catalog: Catalog | None = None, *, samples: int = 6, keys: Collection[str] | None = None
) -> Overview:
    """Collect the content of a page about a corpus or a mixture.

    The samples are chosen at random, and are the same for the same content.

    Parameters
    ----------
    catalog
        The declarations; without them, descriptions are left out.
    samples
        Number of samples of a mixture, or of documents of a corpus.
    keys
        Keys of the partitions in the source of a corpus; by default, those that are published.

    Raises
    ------
    StoreError
        No artifact of this name is published, or one is damaged.
    """
    step = next(FLOW.in_scope(Scope.MIXTURE))
    artifact = store.open(step.address(name)) if "/" not in name else None
    if artifact is None:
        if found := caches_of_corpus(name, store, intact=True):
            caches, retired = without_retired(found, keys)
            missing = [key for key in keys or () if key not in caches]
            return replace(_corpus(name, caches, store, catalog, samples), missing=missing, retired=retired)
        raise nothing_named(name, store)
    plan = plan_of(artifact)
    declared = catalog.mixtures.get(name) if catalog else None
    components = composition(plan)
    positions = np.random.default_rng(plan.seed).choice(plan.current.drawn, min(samples, plan.current.drawn), replace=False)
    explainer = open_explainer(name, place)
    read = [*(component.corpus for component in components), *(corpus for corpus, _ in plan.evaluated())]
    planned = {corpus.name: {partition.key for partition in corpus.partitions} for corpus in plan.corpora}
    caches_of = {corpus: caches_of_corpus(corpus, store, among=planned[corpus], intact=True) for corpus in read}
    return MixtureOverview(
        name=name,
        description=declared.config.description if declared else "",
        declaration=declared.text if declared else "",
        fingerprint=artifact.fingerprint,
        plan=plan,
        components=components,
        corpora=[_corpus(corpus, found, store, catalog, 0) for corpus, found in caches_of.items() if found],
        unpublished=[corpus for corpus, found in caches_of.items() if not found],
        samples=list(explainer.explain((plan.current.start + np.sort(positions)).tolist())),
    )


def _corpus(name: str, caches: Mapping[str, Artifact], store: Store, catalog: Catalog | None, samples: int) -> CorpusOverview:
    steps = list(FLOW.in_scope(Scope.PARTITION))
    declared = catalog.corpora.get(name) if catalog else None
    lengths = np.concatenate([array_lengths(artifact) for artifact in caches.values()])
    return CorpusOverview(
        name=name,
        description=declared.config.description if declared else "",
        declaration=declared.text if declared else "",
        caches=caches,
        fingerprints={key: {step.name: store.published_fingerprint(step.address(name, key)) for step in steps} for key in caches},
        lengths=Lengths.of(lengths),
        duplicates=_duplicates(caches.values()) if len(lengths) <= _COUNTED else None,
        samples=list(_documents(caches, samples)),
    )


def _duplicates(caches: Iterable[Artifact]) -> int:
    """Return the number of documents of caches whose text hash occurs earlier."""
    hashes: list[npt.NDArray[np.uint64]] = []
    for artifact in caches:
        folder = artifact.folder(*(name for name in artifact.manifest.files if name.endswith(HASHES)))
        manifest = artifact.manifest
        hashes += [open_array(folder / name) for split in manifest.counts for name in array_files(manifest, split, HASHES)]
    if not hashes:
        return 0
    found = np.concatenate(hashes)
    return len(found) - len(np.unique(found))


def _documents(caches: Mapping[str, Artifact], count: int) -> Iterator[Sample]:
    """Yield documents chosen at random: first a partition, by its number of documents, then a document."""
    counts = [(key, split, count["documents"]) for key, artifact in caches.items() for split, count in artifact.manifest.counts.items()]
    if not any(documents for *_, documents in counts):
        return
    ends = np.cumsum([documents for *_, documents in counts])
    chosen = np.sort(np.random.default_rng(0).choice(ends[-1], min(count, int(ends[-1])), replace=False))
    for number in chosen.tolist():
        place = int(np.searchsorted(ends, number, side="right"))
        key, split, documents = counts[place]
        arrays = SplitArrays(caches[key].folder(), caches[key].manifest, split)
        sample = Sample.of(arrays, number - int(ends[place]) + documents, _TOKENS)
        yield replace(sample, where=f"{key}, {sample.where}", text=f"{sample.text}{'…' * (sample.tokens > _TOKENS)}")
