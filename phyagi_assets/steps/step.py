"""A step of the flow, and what every step has in common: reuse the version that is expected, or build it; then publish it."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.sources.files import Partition
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.retries import RetryPolicy
from phyagi_assets.steps.checks.check import AS_WRITTEN, Check, Examine, check_found, check_written
from phyagi_assets.steps.facts import Facts, Place
from phyagi_assets.store.local import Artifact, Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.exact import EnginePool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The data folder that steps read and the store that they write."""

    data: Path
    store: Store
    engines: EnginePool = field(default_factory=EnginePool)
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    """How requests to sources are retried."""
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", Sources(self.data, self.store.root / ".listings", self.retry_policy))


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The outcome of a step."""

    artifact: Artifact
    reused: bool
    """Whether the version was there already."""
    seconds: float
    """What building it took; 0 where it was reused."""
    checks: Sequence[Check] = ()
    """What was found when it was looked at."""

    @property
    def failures(self) -> list[Check]:
        """The checks that failed. Where there are any, what was published before it stays."""
        return [check for check in self.checks if not check.passed]


def built_facts(built: Built) -> Facts:
    """Return the facts that every artifact has."""
    return {
        "seconds": round(built.seconds, 3),
        "reused": built.reused,
        "fingerprint": built.artifact.fingerprint,
        "path": Place(path=str(built.artifact.path)),
    }


def amounts(documents: int, tokens: int, size: int, seconds: float) -> Facts:
    """Return the headline numbers of an artifact that holds documents, and the speed if it was built now."""
    speed = {"tokens per second": round(tokens / seconds)} if seconds else {}
    return {"documents": documents, "tokens": tokens, "bytes": size, **speed}


class Scope(Enum):
    """What a step builds one artifact of."""

    PARTITION = "partition"
    CORPUS = "corpus"
    MIXTURE = "mixture"


@dataclass(frozen=True, kw_only=True, slots=True)
class Option:
    """A whole number that one run of a step can be given."""

    default: int | None
    description: str


def published_as_expected(expected: Manifest, address: str, store: Store, holding: Collection[str] = ()) -> Artifact | None:
    """Return the published artifact if it is the expected version and has the files that it must hold itself."""
    published = store.open(address)
    return published if published and published.fingerprint == expected.fingerprint and published.holds(holding) else None


def _holds_nothing(_partition: Any) -> Collection[str]:
    return ()


def _no_facts(_built: Built) -> Facts:
    return {}


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step of the flow.

    Dagster's assets with their checks and metadata, the command, staleness and inspection are derived from it. What its functions are
    given depends on its scope:

    ========= ================================== ========================================================
    scope     subject                            inputs
    ========= ================================== ========================================================
    partition corpus, partition                  fingerprint of the input, by the name of its step
    corpus    corpus                             fingerprints of the input, by partition
    mixture   mixture                            fingerprints of the input, by corpus and partition
    ========= ================================== ========================================================
    """

    name: str
    """Last part of the asset key, and part of the addresses of its artifacts."""
    scope: Scope
    code_version: str
    input: str | None
    """Name of the step whose artifacts it reads; None for the first step."""
    description: str
    """What its artifacts hold."""
    kinds: frozenset[str]
    """Kinds of the asset in Dagster."""
    expected: Callable[..., Manifest | None]
    """Given the subject, the workspace and the inputs: what the artifact has to be now; None if it is unknown until files are fetched."""
    build: Callable[..., Built]
    """Builds the artifact. Partition: given corpus, partition, workspace, progress callback; corpus: corpus, keys of its partitions,
    workspace, progress callback; mixture: mixture, corpora and keys of their partitions by name, workspace. Options by keyword."""
    standing: Callable[[Manifest, str, Store, Collection[str]], Artifact | None] = published_as_expected
    """Given what is expected, the address, the store and the files to hold: the published artifact, if it need not be built."""
    holds: Callable[[Partition], Collection[str]] = _holds_nothing
    """Files that the artifact of a partition has to hold itself."""
    checks: Mapping[str, str] = field(default_factory=dict)
    """Names of its checks, and what they examine. A check that fails keeps the version from being published."""
    facts: Callable[[Built], Facts] = _no_facts
    """What a person is shown of a built artifact, the headline numbers first."""
    lengths: Callable[[Artifact], npt.NDArray[np.int64]] | None = None
    """Tokens of each document of an artifact; None if it holds no documents."""
    options: Mapping[str, Option] = field(default_factory=dict)
    """Options of a run, by name."""
    is_slow: bool = False
    """Whether building takes so long that progress is measured in its bytes of source."""

    def address(self, name: str, partition: str | None = None) -> str:
        """Return the address of the artifact of a corpus or mixture, or of one partition."""
        return f"{name}/{self.name}/{partition}" if self.scope is Scope.PARTITION else f"{name}/{self.name}"


def reuse_or_build(
    store: Store,
    address: str,
    wanted: Manifest,
    fill: Callable[[Path], Manifest],
    *,
    examine: Examine | None = None,
    holding: Collection[str] = (),
) -> Built:
    """Publish the version that `wanted` describes, if it is found to be what it should.

    Parameters
    ----------
    fill
        Writes the version, where it is not there, does not hold what it should, or is damaged.
    examine
        Looks at it before it is published. Where a check fails, what was published before stays. Without one, not even the files of a
        version that is there are read.
    holding
        Files that it has to have.
    """
    with store.turn(address):  # another run may be building it
        artifact = store.find(address, wanted.fingerprint, holding)
        checks = check_found(artifact, examine) if artifact and examine else []
        damage = next((check.found for check in checks if check.name == AS_WRITTEN and not check.passed), "")
        if artifact and damage:
            logger.warning("%s is built again, because it is damaged: %s", address, damage)
            store.discard(address, artifact.path)
            artifact = None
        reused, seconds = artifact is not None, 0.0
        if artifact is None:
            started = time.perf_counter()
            artifact = store.write(address, wanted, fill, holding)
            seconds = time.perf_counter() - started
            checks = check_written(artifact, examine, damage) if examine else []
        built = Built(artifact=artifact, reused=reused, seconds=seconds, checks=checks)
        if not built.failures:
            store.publish(artifact)
    return built


def require(store: Store, address: str, *, wanted_by: str) -> Artifact:
    """The published artifact at an address.

    Raises
    ------
    MissingArtifactsError
        Nothing intact is published there.
    """
    artifact = store.open(address)
    if artifact is None:
        raise MissingArtifactsError(wanted_by, [address])
    return artifact
