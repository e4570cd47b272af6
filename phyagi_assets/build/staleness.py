"""Staleness: the expected version of each artifact, and whether it is published.

Staleness follows from the files, the declarations and the store, not from Dagster's records. The fingerprint of a step is a function of the
fingerprint of the step before it, so all expected versions of a partition are known before anything is built, unless remote files have to
be fetched first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.step import Scope, Step, Workspace
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedArtifact:
    """Expected version of one artifact of the flow, and whether it is published."""

    step: str
    address: str
    fingerprint: str | None
    """Expected fingerprint; None if it is unknown until remote files are fetched."""
    is_current: bool
    """Whether the expected version is published and intact; otherwise the artifact is stale."""
    manifest: Manifest | None = field(default=None, compare=False, repr=False)
    """Expected manifest; None if it is unknown until remote files are fetched."""


def fingerprint_at(address: str, store: Store) -> str:
    """Return the fingerprint of the published version of an artifact without reading more than needed; empty if nothing is published.

    On a disk, one link is read. In a bucket, all manifests of a folder are read at once, instead of one pointer after the other.
    """
    if not store.is_remote:
        return store.published_fingerprint(address)
    artifact = store.open(address)
    return artifact.fingerprint if artifact else ""


def partition_artifacts(corpus: Corpus, partition: Partition, workspace: Workspace, flow: Flow = FLOW) -> list[ExpectedArtifact]:
    """Return the artifacts of one partition, in the order of the flow."""
    artifacts: dict[str, ExpectedArtifact] = {}
    for step in flow.in_scope(Scope.PARTITION):
        address, inputs = step.address(corpus.config.name, partition.key), _inputs(step, artifacts)
        expected = None if inputs is None else step.expected(corpus, partition, workspace, inputs)
        artifacts[step.name] = _artifact(step, expected, address, workspace, step.holds(corpus, partition, workspace))
    return list(artifacts.values())


def corpus_artifact(corpus: Corpus, step: Step, inputs: Mapping[str, str | None], workspace: Workspace) -> ExpectedArtifact:
    """Return the artifact of a step that is built once per corpus.

    Parameters
    ----------
    inputs
        Expected fingerprint of the step's input, by partition; None if it is not known yet.
    """
    known = {key: fingerprint for key, fingerprint in inputs.items() if fingerprint is not None}
    expected = step.expected(corpus, workspace, known) if len(known) == len(inputs) else None
    return _artifact(step, expected, step.address(corpus.config.name), workspace)


def mixture_artifact(declared: Mixture, inputs: Mapping[str, Mapping[str, str]], workspace: Workspace, step: Step) -> ExpectedArtifact:
    """Return the artifact of a step that is built once per mixture.

    Parameters
    ----------
    inputs
        Expected fingerprint of the step's input, by corpus and partition.
    """
    return _artifact(step, step.expected(declared, workspace, inputs), step.address(declared.config.name), workspace)


def _inputs(step: Step, artifacts: Mapping[str, ExpectedArtifact]) -> dict[str, str] | None:
    """Return the fingerprint of a step's input by its name; None if it is not known yet."""
    if step.input is None:
        return {}
    expected = artifacts[step.input].fingerprint
    return None if expected is None else {step.input: expected}


def _artifact(step: Step, expected: Manifest | None, address: str, workspace: Workspace, holding: Collection[str] = ()) -> ExpectedArtifact:
    if expected is None:
        return ExpectedArtifact(step=step.name, address=address, fingerprint=None, is_current=False)
    published = step.published(expected, address, workspace.store, holding)
    fingerprint = published.fingerprint if published else expected.fingerprint
    return ExpectedArtifact(step=step.name, address=address, fingerprint=fingerprint, is_current=published is not None, manifest=expected)
