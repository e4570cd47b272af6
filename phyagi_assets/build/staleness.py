"""The chain of a corpus: what each of its artifacts has to be now, and which of them stand.

Everything follows from the files, the declarations and the store; Dagster's records do not enter into it. A fingerprint is a
function of the one before it, so all that a partition wants is known before anything is built.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from phyagi_assets.declare.catalog import Corpus, Mixture
from phyagi_assets.sources.files import Partition
from phyagi_assets.steps import cache, mixture, raw, tokenize
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.manifest import Manifest

STAGES = (raw.STAGE, tokenize.STAGE, cache.STAGE)
"""Of a corpus, in the order of the flow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One artifact of a chain: where it is, what it has to be, and whether that is what is published, whole."""

    stage: str
    address: str
    wanted: str | None
    """The fingerprint that it has to have; None where remote files have to be fetched to tell."""
    stands: bool


def corpus_links(corpus: Corpus, partition: Partition, workspace: Workspace) -> list[Link]:
    """The artifacts of one partition, in the order of the flow."""
    addresses = [address(corpus, partition.key) for address in (raw.raw_address, tokenize.tokenized_address, cache.cache_address)]
    wanted_raw = raw.wanted_raw(corpus, partition, workspace)
    if wanted_raw is None:
        return [Link(stage=stage, address=address, wanted=None, stands=False) for stage, address in zip(STAGES, addresses, strict=True)]
    wanted_tokenized = tokenize.wanted_tokenized(corpus, partition, workspace, wanted_raw.fingerprint)
    wanted_cache = cache.wanted_cache(corpus, partition, wanted_tokenized.fingerprint)
    holding = (raw.snapshot_files(partition), (), ())
    return [
        _link(wanted, address, workspace, held)
        for wanted, address, held in zip((wanted_raw, wanted_tokenized, wanted_cache), addresses, holding, strict=True)
    ]


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


def _link(wanted: Manifest, address: str, workspace: Workspace, holding: Collection[str]) -> Link:
    published = workspace.store.open(address)
    stands = published is not None and published.fingerprint == wanted.fingerprint and published.holds(holding)
    return Link(stage=wanted.step, address=address, wanted=wanted.fingerprint, stands=stands)
