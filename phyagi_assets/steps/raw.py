"""raw_dataset: the files of a partition, pinned by their content.

Local files are held by reference: the artifact is a manifest with the digest of each file. Remote files are copied into the artifact as a
snapshot. The fingerprint depends on the names, content and splits of the files, not on their origin or modification times.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.execution.progress import OnProgress
from phyagi_assets.sources.digests import DigestCache
from phyagi_assets.sources.files import Partition, SourceFile, held_out, readable
from phyagi_assets.sources.local_file import LocalFile
from phyagi_assets.sources.snapshot import FILES, Transfers
from phyagi_assets.steps.facts import Facts, Listing
from phyagi_assets.steps.step import Built, Scope, Step, Totals, Workspace, built_facts, require, reuse_or_build
from phyagi_assets.store.base import Artifact
from phyagi_assets.store.disk import link
from phyagi_assets.store.manifest import Manifest

STAGE = "raw_dataset"
CODE_VERSION = "1"
_LISTED = 20
"""Largest number of source files that the facts list."""


def raw_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's raw artifact."""
    return f"{corpus.config.name}/{STAGE}/{partition}"


def expected_raw(corpus: Corpus, partition: Partition, workspace: Workspace) -> Manifest | None:
    """Return the expected manifest of a partition's raw artifact, given its files as they are now.

    Returns
    -------
    Manifest or None
        The manifest; None if the content of a remote file is unknown until it is fetched.

    Raises
    ------
    SourceError
        A local file cannot be read.
    """
    digests = _digests(corpus, partition.key, workspace)
    content: dict[str, str] = {}
    for file in partition.files:
        if file.path is None:
            known = digests.recall(file)
            if known is None:
                return None
            content[file.name] = known
            continue
        try:
            content[file.name] = digests.read(file, file.path)
        except OSError as problem:
            raise SourceError(f"{file.path}: cannot be read: {problem.strerror}") from None
    digests.save()
    return _wanted(partition, content)


def is_known(corpus: Corpus, partition: Partition, workspace: Workspace) -> bool:
    """Return whether the digest of every file is known, because its stamp is unchanged, so that no file has to be read or fetched."""
    return not unknown_files(corpus, partition, workspace)


def unknown_files(corpus: Corpus, partition: Partition, workspace: Workspace) -> list[str]:
    """Return the names of the files that have to be read or fetched, because they are new or their stamps have changed."""
    digests = _digests(corpus, partition.key, workspace)
    return [file.name for file in partition.files if digests.recall(file) is None]


def snapshot_files(partition: Partition) -> list[str]:
    """Return the files that the partition's artifact itself has to hold, as paths in the artifact: those of the remote source files."""
    return [f"{FILES}/{file.name}" for file in partition.files if file.path is None]


def build_raw(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Pin the files of a partition by their content; fetch the remote ones.

    Raises
    ------
    SourceError
        A file cannot be read or fetched.
    """
    address, held = raw_address(corpus, partition.key), snapshot_files(partition)
    if not held:
        pinned = _wanted_now(corpus, partition, workspace)
        return reuse_or_build(workspace.store, address, pinned, lambda _folder: pinned)
    with workspace.store.lock(f"{corpus.config.name}/transfers/{partition.key}"):
        transfers = Transfers(workspace.store.scratch("transfers", f"{corpus.config.name}/{partition.key}"), workspace.sources, partition)
        published = workspace.store.open(address, intact=True)
        digests = _digests(corpus, partition.key, workspace)
        with workspace.store.writing():
            paths = transfers.fetch(published, digests, on_progress)
        digests.save()
        wanted = _wanted_now(corpus, partition, workspace)

        def fill(folder: Path) -> Manifest:
            for file in partition.files:
                if file.path is None:
                    link(paths[file.name], folder / FILES / file.name)
            return wanted

        built = reuse_or_build(workspace.store, address, wanted, fill, holding=held)
        transfers.clear()
    return built


def pinned_partition(corpus: Corpus, key: str, workspace: Workspace, *, needed_by: str, listed: Partition | None = None) -> Partition:
    """Return a partition as its raw artifact recorded it, without listing a remote source.

    If any path of the source is local, the partition is returned as the source lists it.

    Parameters
    ----------
    corpus
        The corpus.
    key
        Key of the partition.
    workspace
        The data folder and the store.
    needed_by
        Address of the artifact that needs the partition, for the error message.
    listed
        The partition as the source lists it, if that is known.

    Raises
    ------
    MissingArtifactsError
        The partition has no raw artifact.
    SourceError
        A path of the source is local, and the source no longer contains the partition.
    """
    if any(workspace.sources.remote(path) is None for path in corpus.config.source.paths):
        return listed or listed_partition(corpus, key, workspace)
    manifest = require(workspace.store, raw_address(corpus, key), needed_by=needed_by).manifest
    splits: Mapping[str, str] = manifest.settings.get("splits", {})
    origins: Mapping[str, str] = manifest.details.get("origins", {})
    files = [
        SourceFile(
            name=name,
            origin=origins.get(name, name),
            size=manifest.files[f"{FILES}/{name}"].bytes,
            stamp=(),
            split=held_out(splits.get(name, "")),
        )
        for name in sorted(manifest.inputs["files"])
    ]
    return Partition(key=key, files=tuple(files))


def listed_partition(corpus: Corpus, key: str, workspace: Workspace) -> Partition:
    """Return a partition as the source lists it now.

    Raises
    ------
    SourceError
        The source no longer contains the partition.
    """
    partitions = workspace.sources.partitions(corpus)
    if key not in partitions:
        raise SourceError(f"{corpus.path}: partition {key!r} is no longer in the source; there are: {', '.join(list(partitions)[:20])}")
    return partitions[key]


def local_files(partition: Partition, raw: Artifact) -> list[LocalFile]:
    """Return the local files to read: the source files themselves, or their copies in the snapshot of the raw artifact."""
    return readable(partition, raw.folder(FILES) / FILES)


def _wanted_now(corpus: Corpus, partition: Partition, workspace: Workspace) -> Manifest:
    wanted = expected_raw(corpus, partition, workspace)
    assert wanted is not None, "what is here can be read"
    return wanted


def _digests(corpus: Corpus, key: str, workspace: Workspace) -> DigestCache:
    return DigestCache(workspace.store.state("digests", f"{corpus.config.name}/{key}"))


def _wanted(partition: Partition, content: Mapping[str, str]) -> Manifest:
    settings = {"splits": partition.splits} if partition.splits else {}
    wanted = Manifest.expected(STAGE, code_version=CODE_VERSION, inputs={"files": content}, settings=settings)
    origins = {file.name: file.origin for file in partition.files if file.path is None}
    details = {"origins": origins} if origins else {}
    return replace(wanted, counts={"files": len(content), "bytes": partition.bytes}, details=details)


def _expected(corpus: Corpus, partition: Partition, workspace: Workspace, _inputs: Mapping[str, str]) -> Manifest | None:
    return expected_raw(corpus, partition, workspace)


def _facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    origins = manifest.details.get("origins", {})
    files = [str(origins.get(name, name)) for name in list(manifest.inputs["files"])[:_LISTED]]
    return {
        "files": manifest.counts["files"],
        "bytes": manifest.counts["bytes"],
        "source files": Listing(items=files),
        **built_facts(built),
    }


def _totals(manifest: Manifest) -> Totals:
    return manifest.counts


RAW = Step(
    name=STAGE,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=None,
    description="The files of the source, pinned by their content.",
    kinds=frozenset({"file"}),
    expected=_expected,
    build=build_raw,
    holds=snapshot_files,
    facts=_facts,
    totals=_totals,
)
