"""The chain of a corpus: what each of its artifacts has to be now, and which of them stand.

Everything follows from the files, the declarations and the store; Dagster's records do not enter into it. A fingerprint is a
function of the one before it, so all that a partition wants is known before anything is built.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phyagi_assets.declarations import Corpus, Mixture
from phyagi_assets.pipeline import cache, mixture, raw, tokenized
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.sources.listing import Partition
from phyagi_assets.pipeline.step import Workspace

STAGES = (raw.STAGE, tokenized.STAGE, cache.STAGE)
"""Of a corpus, in the order of the flow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One artifact of a chain: where it is, what it has to be, and whether that is what is published, whole."""

    stage: str
    address: str
    wanted: str
    stands: bool


def corpus_links(corpus: Corpus, partition: Partition, workspace: Workspace) -> list[Link]:
    """The artifacts of one partition, in the order of the flow."""
    wanted_raw = raw.wanted_raw(corpus, partition, workspace)
    wanted_tokenized = tokenized.wanted_tokenized(corpus, workspace, wanted_raw.fingerprint)
    wanted_cache = cache.wanted_cache(corpus, wanted_tokenized.fingerprint)
    addresses: list[tuple[Callable[[Corpus, str], str], Manifest]] = [
        (raw.raw_address, wanted_raw),
        (tokenized.tokenized_address, wanted_tokenized),
        (cache.cache_address, wanted_cache),
    ]
    return [_link(wanted.step, address(corpus, partition.key), wanted.fingerprint, workspace) for address, wanted in addresses]


def mixture_link(declared: Mixture, caches: Mapping[str, Mapping[str, str]], workspace: Workspace) -> Link:
    """The plan of a mixture, given the fingerprints that its caches have to have, by corpus and partition."""
    wanted, address = mixture.wanted_mixture(declared, caches), mixture.mixture_address(declared)
    standing = mixture.standing_mixture(wanted, address, workspace.store)
    return Link(
        stage=mixture.STAGE,
        address=address,
        wanted=standing.fingerprint if standing else wanted.fingerprint,
        stands=standing is not None,
    )


def _link(stage: str, address: str, wanted: str, workspace: Workspace) -> Link:
    published = workspace.store.open(address)
    return Link(stage=stage, address=address, wanted=wanted, stands=published is not None and published.fingerprint == wanted)
