"""Descriptions of artifacts and corpora by any of their names: address, path, or name of a mixture or corpus."""

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from phyagi_assets.build.available import available_partitions
from phyagi_assets.declare.catalog import read_catalog
from phyagi_assets.errors import PhyagiAssetsError, StoreError
from phyagi_assets.formatting import listed
from phyagi_assets.inspection.describe import InspectReport, describe, inspect_artifact, inspect_corpus
from phyagi_assets.inspection.missing import no_address
from phyagi_assets.paths import is_file
from phyagi_assets.steps import mixture
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.addresses import Address
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.base import Store
from phyagi_assets.store.manifest import MANIFEST
from phyagi_assets.store.places import artifact_in_bucket, open_store

LEFT_OUT = "files left out of the source"
"""Label of the fact about files that match the pattern of the source but are left out, such as hidden files."""
_LISTING_SECONDS = 10.0
"""Time limit for listing a remote source, in seconds; beyond it, a corpus is described without the listing."""


def inspect_named(name: str, store: Store, workspace: Workspace | None = None) -> InspectReport:
    """Describe an artifact or a corpus, given any of its names.

    Parameters
    ----------
    name
        Path or address in a bucket of an artifact or of a file in its folder, address in the store, or name of a mixture or corpus.
    workspace
        The data folder that declares the corpus. Its source is listed to report the files that it leaves out, and to leave out retired
        partitions. By default, all published partitions are described.

    Raises
    ------
    StoreError
        The name refers to nothing in the store, or the artifact is damaged.
    """
    if place := artifact_in_bucket(name, {step.name: step.scope is Scope.PARTITION for step in FLOW.steps}):
        store = store if str(store) == place.store else open_store(place.store)
        artifact = _in_store(store, place.address, place.fingerprint)
        if artifact is None:
            raise StoreError(f"{place.store} has nothing named {place.address!r}, as an address or as the path of an artifact")
        return describe(artifact)
    path = Path(name)
    folders = [path.parent if is_file(path) else path]
    address = name if "/" in name else mixture.MIXTURE.address(name)
    with suppress(StoreError):  # the name is not an address
        folders.append(store.pointer(address))
    for folder in folders:
        if is_file(folder / MANIFEST):
            return _with_failed(inspect_artifact(folder), name, workspace)
    if store.is_remote and (artifact := _in_store(store, address)):
        return _with_failed(describe(artifact), name, workspace)
    if "/" in name:
        raise no_address(name, store)
    left_out, keys = list_source(name, workspace) if workspace else ("", None)
    found = inspect_corpus(store, name, keys)
    return found.model_copy(update={"facts": {**found.facts, LEFT_OUT: left_out}}) if left_out else found


def _with_failed(found: InspectReport, name: str, workspace: Workspace | None) -> InspectReport:
    """Return the description of a mixture with the partitions that it leaves out now; its plan may name others."""
    if workspace is None:
        return found
    catalog, _ = read_catalog(workspace.data)
    declared, corpora = catalog.mixtures.get(name), catalog.corpora
    if declared is None or not declared.config.skips_failed:
        return found
    try:
        keys = {corpus: list(workspace.sources.partitions(corpora[corpus], seconds=_LISTING_SECONDS)) for corpus in declared.config.corpora}
        left_out = listed(list(available_partitions(declared, corpora, keys, workspace).left_out), 8)
    except PhyagiAssetsError as problem:
        left_out = f"unknown: {problem}"
    facts = {label: value for label, value in found.facts.items() if label != mixture.LEFT_OUT_LABEL}
    return found.model_copy(update={"facts": {**facts, mixture.LEFT_OUT_LABEL: left_out} if left_out else facts})


def _in_store(store: Store, address: str, fingerprint: str = "") -> Artifact | None:
    """Return a version at an address, by default the published one; None if there is none, or the address is not valid."""
    try:
        known = Address(address)
    except StoreError:
        return None
    artifact = store.find(known, fingerprint) if fingerprint else store.open(known)
    if artifact and (damage := artifact.damage()):
        raise StoreError("\n".join(damage))
    return artifact


def list_source(name: str, workspace: Workspace) -> tuple[str, Collection[str] | None]:
    """Return one line on the files that a corpus leaves out of its source, empty if there are none, and the keys of its partitions.

    The keys are None if the corpus is not declared, or if its source cannot be listed.
    """
    catalog, _ = read_catalog(workspace.data)
    if name not in catalog.corpora:
        return "", None
    corpus = catalog.corpora[name]
    try:
        listing = workspace.sources.listing(corpus, seconds=_LISTING_SECONDS, warn=False)  # the facts report these files
    except PhyagiAssetsError as problem:
        return f"unknown: {problem}", None
    return workspace.sources.left_out(corpus), listing.partitions
