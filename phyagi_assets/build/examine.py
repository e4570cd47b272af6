"""Find the expected version of each artifact of a corpus or catalog, and whether it is published."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from phyagi_assets.build.selection import Selection
from phyagi_assets.build.staleness import ExpectedArtifact, corpus_artifact, mixture_artifact, partition_artifacts
from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import PhyagiAssetsError, SourceError, StoreAccessError
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import Flow
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.fingerprint import canonical_json, text_digest

Versions = Mapping[str, Mapping[str, str | None]]
"""Expected fingerprints of artifacts, by step and partition."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExaminedCorpus:
    """The partitions of a corpus, with the expected versions of their artifacts."""

    corpus: Corpus
    partitions: Mapping[str, Partition]
    """All partitions that the source lists, by key."""
    artifacts: Mapping[str, Sequence[ExpectedArtifact]]
    """Expected artifacts of each examined partition, by key, in the order of the flow."""
    failed: Mapping[str, SourceError | StoreAccessError]
    """Errors of the partitions that could not be examined, by ``corpus/partition``."""

    @property
    def versions(self) -> dict[str, dict[str, str | None]]:
        """Expected fingerprint of each artifact, by step and partition; None if it is unknown."""
        versions: dict[str, dict[str, str | None]] = {}
        for key, artifacts in self.artifacts.items():
            for artifact in artifacts:
                versions.setdefault(artifact.step, {})[key] = artifact.fingerprint
        return versions

    @property
    def is_current(self) -> bool:
        """Whether the expected version of every artifact is published."""
        return not self.failed and all(artifact.is_current for artifacts in self.artifacts.values() for artifact in artifacts)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExaminedCatalog:
    """The corpora and mixtures of a catalog, with the expected versions of their artifacts."""

    corpora: Mapping[str, ExaminedCorpus]
    """The corpora whose sources could be listed, by name."""
    unpartitioned: Mapping[str, Sequence[ExpectedArtifact]] = field(default_factory=dict)
    """The artifacts that are not partitioned, by name of the corpus or mixture; only of a catalog whose partitions are all current."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Reasons why the sources of corpora could not be listed, or the plans of mixtures may not be read, by corpus or mixture."""

    @property
    def is_current(self) -> bool:
        """Whether the expected version of every artifact is published."""
        wholes = [artifact for artifacts in self.unpartitioned.values() for artifact in artifacts]
        return not self.failed and all(corpus.is_current for corpus in self.corpora.values()) and all(each.is_current for each in wholes)

    @property
    def count(self) -> int:
        """Number of examined partitions and of artifacts that are not partitioned."""
        return sum(len(corpus.artifacts) for corpus in self.corpora.values()) + sum(map(len, self.unpartitioned.values()))

    def digests(self) -> dict[str, str]:
        """Return a digest of the expected versions of each corpus and mixture, see `versions_digest`."""
        names = dict.fromkeys([*self.corpora, *self.unpartitioned])
        return {
            name: versions_digest(
                self.corpora[name].versions if name in self.corpora else {},
                {artifact.step: artifact.fingerprint for artifact in self.unpartitioned.get(name, ())},
            )
            for name in names
        }


def versions_digest(partitions: Versions, unpartitioned: Mapping[str, str | None]) -> str:
    """Return a digest of the versions of a corpus or mixture: by step and partition, and by step of the artifacts without partitions."""
    return text_digest(canonical_json([partitions, unpartitioned]))


def examine_partitions(
    corpus: Corpus, partitions: Mapping[str, Partition], workspace: Workspace, flow: Flow, *, among: Collection[str] | None
) -> ExaminedCorpus:
    """Find the expected versions of all partitions or of those `among` some keys, and whether they are published.

    Partitions that cannot be examined are in `failed`.
    """
    artifacts: dict[str, Sequence[ExpectedArtifact]] = {}
    failed: dict[str, SourceError | StoreAccessError] = {}
    for key, partition in partitions.items():
        if among is not None and key not in among:
            continue
        try:
            artifacts[key] = partition_artifacts(corpus, partition, workspace, flow)
        except (SourceError, StoreAccessError) as problem:
            failed[f"{corpus.config.name}/{key}"] = problem
    return ExaminedCorpus(corpus=corpus, partitions=partitions, artifacts=artifacts, failed=failed)


def examine_selection(selection: Selection, workspace: Workspace) -> ExaminedCatalog:
    """List the sources of a command's targets, and find the expected versions of their artifacts.

    One corpus that fails does not stop the others.

    Raises
    ------
    PhyagiAssetsError
        A chosen partition is not in the source.
    """
    corpora: dict[str, ExaminedCorpus] = {}
    failed: dict[str, str] = {}
    for name, listed in selection.listings(workspace.sources):
        if isinstance(listed, PhyagiAssetsError):
            failed[name] = str(listed)
            continue
        try:
            corpora[name] = examine_partitions(listed.corpus, listed.partitions, workspace, selection.flow, among=listed.chosen)
        except PhyagiAssetsError as problem:
            failed[name] = str(problem)
    partitions = ExaminedCatalog(corpora=corpora, failed=failed)
    return _with_unpartitioned(partitions, selection, workspace) if partitions.is_current else partitions


def _with_unpartitioned(partitions: ExaminedCatalog, selection: Selection, workspace: Workspace) -> ExaminedCatalog:
    """Examine also the artifacts that are not partitioned, given the partitions, which are all current."""
    catalog, corpora, flow = selection.catalog, partitions.corpora, selection.flow
    failed: dict[str, str] = {}
    versions = {name: corpus.versions for name, corpus in corpora.items()}
    found: dict[str, list[ExpectedArtifact]] = {name: [] for name in catalog.mixtures}
    for name, corpus in catalog.corpora.items():
        for step in flow.in_scope(Scope.CORPUS):
            artifact = corpus_artifact(corpus, step, versions[name].get(step.input or "", {}), workspace)
            found.setdefault(name, []).append(artifact)
    for name, mixture in catalog.mixtures.items():
        for step in flow.in_scope(Scope.MIXTURE):
            inputs = {part: versions[part].get(step.input or "", {}) for part in mixture.config.corpora}
            try:
                found[name].append(mixture_artifact(mixture, known_inputs(inputs), workspace, step))
            except StoreAccessError as problem:
                failed[name] = str(problem)
    return ExaminedCatalog(corpora=corpora, failed=failed, unpartitioned=found)


def known_inputs(versions: Versions) -> dict[str, dict[str, str]]:
    """Return the fingerprints of a mixture's inputs, by corpus and partition; an empty string if one is not known yet."""
    return {corpus: {key: fingerprint or "" for key, fingerprint in fingerprints.items()} for corpus, fingerprints in versions.items()}
