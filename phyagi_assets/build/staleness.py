"""Staleness: the expected version of each artifact, and whether it is published.

Staleness follows from the files, the declarations and the store, not from Dagster's records. The fingerprint of a step is a function of the
fingerprint of the step before it, so all expected versions of a partition are known before anything is built, unless remote files have to
be fetched first.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps.flow import FLOW, Flow
from phyagi_assets.steps.mixture import MIXTURE
from phyagi_assets.steps.step import Scope, Step, Workspace
from phyagi_assets.store.manifest import Manifest

STAGES = tuple(step.name for step in FLOW.of(Scope.PARTITION))
"""Names of the steps of a partition, in the order of the flow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """Expected version of one artifact of the flow, and whether it is published."""

    stage: str
    """Name of the step."""
    address: str
    wanted: str | None
    """Expected fingerprint; None if it is unknown until remote files are fetched."""
    stands: bool
    """Whether the expected version is published and intact; otherwise the artifact is stale."""


def corpus_links(corpus: Corpus, partition: Partition, workspace: Workspace, flow: Flow = FLOW) -> list[Link]:
    """Return the artifacts of one partition, in the order of the flow."""
    links: dict[str, Link] = {}
    for step in flow.of(Scope.PARTITION):
        address, inputs = step.address(corpus.config.name, partition.key), _inputs(step, links)
        wanted = None if inputs is None else step.expected(corpus, partition, workspace, inputs)
        links[step.name] = _link(step, wanted, address, workspace, step.holds(partition))
    return list(links.values())


def whole_corpus_link(corpus: Corpus, step: Step, inputs: Mapping[str, str | None], workspace: Workspace) -> Link:
    """Return the artifact of a step that is built once per corpus.

    Parameters
    ----------
    inputs
        Expected fingerprint of the step's input, by partition; None if it is not known yet.
    """
    known = {key: fingerprint for key, fingerprint in inputs.items() if fingerprint is not None}
    wanted = step.expected(corpus, workspace, known) if len(known) == len(inputs) else None
    return _link(step, wanted, step.address(corpus.config.name), workspace)


def mixture_link(declared: Mixture, inputs: Mapping[str, Mapping[str, str]], workspace: Workspace, step: Step = MIXTURE) -> Link:
    """Return the artifact of a step that is built once per mixture.

    Parameters
    ----------
    inputs
        Expected fingerprint of the step's input, by corpus and partition.
    """
    return _link(step, step.expected(declared, workspace, inputs), step.address(declared.config.name), workspace)


def _inputs(step: Step, links: Mapping[str, Link]) -> dict[str, str] | None:
    """Return the fingerprint of a step's input by its name; None if it is not known yet."""
    if step.input is None:
        return {}
    wanted = links[step.input].wanted
    return None if wanted is None else {step.input: wanted}


def _link(step: Step, wanted: Manifest | None, address: str, workspace: Workspace, holding: Collection[str] = ()) -> Link:
    if wanted is None:
        return Link(stage=step.name, address=address, wanted=None, stands=False)
    standing = step.standing(wanted, address, workspace.store, holding)
    fingerprint = standing.fingerprint if standing else wanted.fingerprint
    return Link(stage=step.name, address=address, wanted=fingerprint, stands=standing is not None)
