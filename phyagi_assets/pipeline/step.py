"""What every step has in common: reuse the version that is wanted, or build it; then publish it."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from phyagi_assets.errors import MissingArtifactsError
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.sources.listing import Sources
from phyagi_assets.pipeline.sources.patience import Patience
from phyagi_assets.pipeline.store import Artifact, Store
from phyagi_assets.pipeline.tokenizers.exact import EnginePool

OnProgress = Callable[[int], None]
"""Called by long steps with the bytes of source that are done since the last call."""


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


def reuse_or_build(
    store: Store, address: str, wanted: Manifest, fill: Callable[[Path], Manifest], *, holding: Collection[str] = ()
) -> Built:
    """Publish the version that `wanted` describes, writing it with `fill` only where it is not there, or does not hold some files."""
    artifact = store.find(address, wanted.fingerprint, holding)
    if artifact is not None:
        store.publish(artifact)
        return Built(artifact=artifact, reused=True, seconds=0.0)
    with store.turn(address):
        artifact = store.find(address, wanted.fingerprint, holding)  # another run may have built it, while this one waited
        reused = artifact is not None
        started = time.perf_counter()
        if artifact is None:
            artifact = store.write(address, wanted, fill, holding)
        store.publish(artifact)
    return Built(artifact=artifact, reused=reused, seconds=0.0 if reused else time.perf_counter() - started)


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
