"""What every step has in common: reuse the version that is wanted, or build it; then publish it."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.sources.listing import Sources
from phyagi_assets.sources.retries import Patience
from phyagi_assets.steps.checks.check import AS_WRITTEN, Check, Examine, check_found, check_written
from phyagi_assets.store.local import Artifact, Store
from phyagi_assets.store.manifest import Manifest
from phyagi_assets.tokenizers.exact import EnginePool

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """The data folder and the store that the steps work between."""

    data: Path
    store: Store
    engines: EnginePool = field(default_factory=EnginePool)
    patience: Patience = field(default_factory=Patience)
    """With sources that are down."""
    sources: Sources = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", Sources(self.data, self.store.root / ".listings", self.patience))


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
