"""The type of a step of the flow, and the code that all steps share: reuse or build the expected version, then publish it."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.sources.chunks import CHUNK_BYTES
from phyagi_assets.sources.files import Partition
from phyagi_assets.sources.listing import Sources
from phyagi_assets.steps.checks.check import AS_WRITTEN, Check, Examine, check_found, check_written
from phyagi_assets.steps.facts import Facts, Place
from phyagi_assets.store.artifact import Artifact, Fill
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.identity import Identities

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The data folder that steps read and the store that they write."""

    data: Path
    store: Store
    engines: EnginePool = field(default_factory=EnginePool)
    """Loaded tokenizer engines, shared by all steps."""
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    chunk_bytes: int = CHUNK_BYTES
    """Approximate smallest size of a chunk of a partition, in bytes of source."""
    identities: Identities = field(init=False)
    """Identities of the tokenizers that the corpora declare."""
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identities", Identities(self.data))
        object.__setattr__(self, "sources", Sources(self.data, self.store, self.retry_policy))


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The outcome of a step."""

    artifact: Artifact
    reused: bool
    """Whether the version existed already and was not built."""
    seconds: float
    """Time that building took, in seconds; 0 if the version was reused."""
    checks: Sequence[Check] = ()
    lengths: npt.NDArray[np.int64] | None = None
    """Number of tokens of each document, 1-D; None if the build did not count them, and they are read from the version."""
    preview: str | None = None
    """Text of the first tokens; None if it is read from the version."""

    @property
    def failures(self) -> list[Check]:
        """The failed checks. If there are any, the version is not published, and the one published before stays."""
        return [check for check in self.checks if not check.passed]


def built_facts(built: Built) -> Facts:
    """Return the facts that every artifact has: build time, reuse, fingerprint and path."""
    return {
        "seconds": round(built.seconds, 3),
        "reused": built.reused,
        "fingerprint": built.artifact.fingerprint,
        "path": Place(path=built.artifact.place),
    }


def amounts(documents: int, tokens: int, size: int, seconds: float) -> Facts:
    """Return the headline numbers of an artifact that holds documents; the speed is left out if building took no time."""
    speed = {"tokens per second": round(tokens / seconds)} if seconds else {}
    return {"documents": documents, "tokens": tokens, "bytes": size, **speed}


Totals = Mapping[str, int]
"""Numbers of one partition that add up to those of its corpus, by name."""


class Chunk(Protocol):
    """A part of the work of a step on one partition that any process can do before the step is built. It can be pickled, and is small."""

    @property
    def name(self) -> str:
        """Name for messages."""

    def run(self, workspace: Workspace, on_progress: OnProgress) -> None:
        """Do the work, unless it is done already, and leave the result in the store for the build of the step."""


class Scope(Enum):
    """The unit for which a step builds one artifact, from the narrowest to the widest."""

    PARTITION = "partition"
    CORPUS = "corpus"
    MIXTURE = "mixture"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column of an artifact that is a table."""

    type: str
    description: str
    only_conversations: bool = False
    """Whether only artifacts of conversations have the column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """An integer option of a run of a step."""

    default: int | None
    """Default value; None if the option is unset by default."""
    description: str


def published_as_expected(expected: Manifest, address: str, store: Store, holding: Collection[str] = ()) -> Artifact | None:
    """Return the published artifact if it is the expected version and holds the files `holding`; otherwise None."""
    published = store.open(address, intact=True)
    return published if published and published.fingerprint == expected.fingerprint and published.holds(holding) else None


def _none(*_: object) -> tuple[()]:
    return ()


def _nothing(_: object) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the flow.

    Dagster's assets with their checks and metadata, the command, staleness and inspection are derived from the steps. The arguments of a
    step's functions depend on its scope:

    ========= ================================== ========================================================
    scope     subject                            inputs
    ========= ================================== ========================================================
    partition corpus, partition                  fingerprint of the input, by the name of its step
    corpus    corpus                             fingerprints of the input, by partition
    mixture   mixture                            fingerprints of the input, by corpus and partition
    ========= ================================== ========================================================
    """

    name: str
    """Name of the step: the last part of its asset keys, and part of the addresses of its artifacts."""
    scope: Scope
    code_version: str
    """Version of the code that builds the artifact; part of the fingerprint. It is raised only if the output changes."""
    input: str | None
    """Name of the step whose artifacts the step reads; None for the first step."""
    description: str
    """Description of the step's artifacts, shown in Dagster."""
    kinds: frozenset[str]
    """Kinds of the asset in Dagster."""
    expected: Callable[..., Manifest | None]
    """Returns the expected manifest, given the subject, the workspace and the inputs; None if it is unknown until files are fetched."""
    build: Callable[..., Built]
    """Builds the artifact. Its arguments are, by scope: partition: corpus, partition, workspace, progress callback; corpus: corpus, keys of
    its partitions, workspace; mixture: mixture, corpora by name, keys of their partitions by name, workspace, and, as the keyword
    ``left_out``, the partitions that failed and are not among these keys. Options are keywords."""
    published: Callable[[Manifest, str, Store, Collection[str]], Artifact | None] = published_as_expected
    """Returns the published artifact if it need not be built, given the expected manifest, the address, the store and the files to hold."""
    holds: Callable[[Any, Partition, Workspace], Collection[str]] = _none
    """Returns the files that the artifact of a partition itself has to hold, as paths in it, given the corpus of the partition."""
    unread: Callable[[Any, Partition, Workspace], Collection[str]] = _none
    """Returns the names of the source files that have to be read or fetched to find the expected manifest, given the corpus of the
    partition."""
    shared_inputs: Callable[[Any, Workspace], Sequence[object]] = _none
    """Returns the inputs that all partitions of a corpus share, besides its declaration, as values that can be written as JSON."""
    pinned: Callable[..., Partition] | None = None
    """Returns a partition as its artifact recorded it, for the steps that follow, given the corpus, the key, the workspace, the partition
    as the source lists it, or None, and the address of the artifact that needs it. Only the first step has it."""
    chunks: Callable[[Any, Partition, Workspace], Sequence[Chunk]] | None = None
    """Returns the chunks of a partition, given its corpus, that other processes can do before it is built; empty if it is small. None if
    the work of the step cannot be divided."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """Descriptions of the step's checks, by name. A version that fails a check is not published."""
    facts: Callable[[Built], Facts] = _nothing
    """Returns the facts about a built artifact, the headline numbers first."""
    totals: Callable[[Manifest], Totals] = _nothing
    """Returns the numbers of a partition that add up to those of its corpus, given the manifest of its artifact."""
    columns: Mapping[str, Column] = field(default_factory=dict)
    """Columns of an artifact that is a table, by name."""
    lengths: Callable[[Artifact], npt.NDArray[np.int64]] | None = None
    """Returns the number of tokens of each document of an artifact, 1-D; None if the step's artifacts hold no documents."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Options of a run, by name. Steps of partitions have none."""
    is_slow: bool = False
    """Whether building takes so long that its progress is reported, in bytes of source."""

    def address(self, name: str, partition: str | None = None) -> str:
        """Return the address of an artifact of this step.

        Parameters
        ----------
        partition
            Key of the partition, for a step with the scope of a partition; others ignore it.
        """
        return f"{name}/{self.name}/{partition}" if self.scope is Scope.PARTITION else f"{name}/{self.name}"


def reuse_or_build(
    store: Store, address: str, expected: Manifest, fill: Fill, *, examine: Examine | None = None, holding: Collection[str] = ()
) -> Built:
    """Find or build the version that `expected` describes, and publish it if all its checks pass.

    Parameters
    ----------
    fill
        Writes the files of the version to a folder and returns the completed manifest. Called if the version is missing or damaged, or does
        not hold the files `holding`.
    examine
        Checks the version before it is published. If a check fails, the version published before stays. If None, nothing is checked, and
        the files of an existing version are not read.
    holding
        Files that the version itself has to hold, as paths in it.
    """
    with store.lock(address):  # another run may be building it
        artifact = store.find(address, expected.fingerprint, holding)
        checks = check_found(artifact, examine) if artifact and examine else []
        damage = next((check.found for check in checks if check.name == AS_WRITTEN and not check.passed), "")
        if artifact and damage:
            logger.warning("%s is built again, because it is damaged: %s", address, damage)
            store.discard(address, artifact.path)
            artifact = None
        reused, seconds = artifact is not None, 0.0
        if artifact is None:
            started = time.perf_counter()
            artifact = store.write(address, expected, fill, holding)
            seconds = time.perf_counter() - started
            checks = check_written(artifact, examine, damage) if examine else []
        built = Built(artifact=artifact, reused=reused, seconds=seconds, checks=checks)
        if not built.failures:
            store.publish(artifact)
    return built


def require(store: Store, address: str, *, needed_by: str) -> Artifact:
    """Return the published artifact at an address.

    Parameters
    ----------
    needed_by
        Address of the artifact that is built from it, for the error message.

    Raises
    ------
    MissingArtifactsError
        No artifact is published at the address, or it is damaged.
    """
    artifact = store.open(address, intact=True)
    if artifact is None:
        raise MissingArtifactsError(needed_by, [address])
    return artifact
