"""raw_dataset: the files of a partition, pinned by their content.

Local files are held by reference: the artifact is a manifest with the digest of each file. If the store is in a bucket, objects are held by
reference too, pinned by their ETags. Other remote files are copied into the artifact as a snapshot. The fingerprint depends on the names,
content and splits of the files, not on their origin or modification times; an ETag stands for the content of an object that is pinned.

A published artifact stays valid while the source lists the same content, even if it is a copy and the store is now in a bucket, or the
reverse.
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.execution.executor import OnProgress
from phyagi_assets.formatting import counted, listed
from phyagi_assets.objects.kinds import SCHEMES
from phyagi_assets.sources.digests import DigestCache
from phyagi_assets.sources.files import Partition, SourceFile, held_out
from phyagi_assets.sources.local_file import LocalFile, error_of_file
from phyagi_assets.sources.readable import Readable
from phyagi_assets.sources.small_objects import fit
from phyagi_assets.sources.snapshot import FILES, clear_transfers, fetch_files
from phyagi_assets.steps.facts import Facts, Listing
from phyagi_assets.steps.pins import has_pins, identity, is_identity, pins_file, pins_of, write_pins
from phyagi_assets.steps.step import Built, Scope, Step, Workspace, built_facts, require, reuse_or_build
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.disk import link
from phyagi_assets.store.manifest import Manifest

logger = logging.getLogger(__name__)

STEP = "raw_dataset"
CODE_VERSION = "1"
_LISTED = 20
"""Largest number of source files that the facts list."""


def raw_address(corpus: Corpus, partition: str) -> str:
    """Return the address of a partition's raw artifact."""
    return f"{corpus.config.name}/{STEP}/{partition}"


def expected_raw(corpus: Corpus, partition: Partition, workspace: Workspace, _inputs: Mapping[str, str] | None = None) -> Manifest | None:
    """Return the expected manifest of a partition's raw artifact, given its files as they are now.

    Returns
    -------
    Manifest or None
        The manifest; None if the content of a remote file that is copied is unknown until it is fetched.

    Raises
    ------
    SourceError
        A local file cannot be read.
    """
    pinned = pinned_objects(corpus, partition, workspace)
    if pinned is None:
        return None
    digests, names = _digests(corpus, partition.key, workspace), _names(pinned)
    content: dict[str, str] = {}
    for file in partition.files:
        if file.name in names:
            content[file.name] = identity(file)
        elif file.path is None:
            known = digests.recall(file)
            if known is None:
                return None
            content[file.name] = known
        else:
            try:
                content[file.name] = digests.read(file, file.path)
            except OSError as problem:
                raise error_of_file(problem, f"{file.path}: cannot be read: {problem.strerror}") from None
    digests.save()
    return _manifest(partition, content)


def pinned_objects(corpus: Corpus, partition: Partition, workspace: Workspace) -> Sequence[SourceFile] | None:
    """Return the files of a partition that are read in their bucket, and pinned instead of copied.

    Returns
    -------
    sequence of SourceFile or None
        The files; None if a copy is published and only fetching the objects can show whether it is still what the source lists.
    """
    objects = [file for file in partition.files if file.path is None and file.origin.startswith(SCHEMES)]
    if corpus.config.snapshot or not all(file.stamp for file in objects):  # files that an artifact recorded as copies have no stamps
        return ()
    if not objects:
        return ()
    published = workspace.store.open(raw_address(corpus, partition.key))
    if not workspace.store.is_remote:
        return objects if published and published.holds([pins_file(objects)]) else ()
    if published is None or not published.holds([f"{FILES}/{file.name}" for file in objects]):
        return objects
    digests, copied = _digests(corpus, partition.key, workspace), published.manifest.inputs["files"]
    if copied.keys() != _names(partition.files) or any(digests.differs_from(file, copied[file.name]) for file in objects):
        return objects
    return None if any(digests.recall(file) is None for file in objects) else ()


def unread_files(corpus: Corpus, partition: Partition, workspace: Workspace) -> list[str]:
    """Return the names of the files that have to be read or fetched, because they are new or their stamps have changed."""
    digests, names = _digests(corpus, partition.key, workspace), _names(pinned_objects(corpus, partition, workspace) or ())
    return [file.name for file in partition.files if file.name not in names and digests.recall(file) is None]


def held_files(corpus: Corpus, partition: Partition, workspace: Workspace) -> Collection[str]:
    """Return the files that the partition's artifact itself has to hold, as paths in it: copies of files, and the pins of objects."""
    return _held(partition, pinned_objects(corpus, partition, workspace) or ())


def _held(partition: Partition, pinned: Sequence[SourceFile]) -> list[str]:
    copies = [f"{FILES}/{file.name}" for file in _copied(partition, pinned)]
    return [*copies, *([pins_file(pinned)] if pinned else [])]


def _copied(partition: Partition, pinned: Sequence[SourceFile]) -> list[SourceFile]:
    """Return the remote files of a partition that are copied: all but the pinned ones."""
    names = _names(pinned)
    return [file for file in partition.files if file.path is None and file.name not in names]


def _names(files: Iterable[SourceFile]) -> set[str]:
    return {file.name for file in files}


def build_raw(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Pin the files of a partition by their content or their ETags; fetch the remote ones that are copied."""
    address, pinned = raw_address(corpus, partition.key), pinned_objects(corpus, partition, workspace)
    copied = _copied(partition, pinned or ())
    if not copied:
        return _build(corpus, partition, workspace, pinned or (), {})
    with workspace.store.lock(f"{corpus.config.name}/transfers/{partition.key}"):
        folder = workspace.store.scratch("transfers", f"{corpus.config.name}/{partition.key}")
        published = workspace.store.open(address, intact=True)
        digests = _digests(corpus, partition.key, workspace)
        with workspace.store.writing():
            paths = fetch_files(copied, folder, workspace.sources, published, digests, on_progress)
        digests.save()
        if pinned is None:  # now that the content is known
            pinned = pinned_objects(corpus, partition, workspace)
            assert pinned is not None, "the content of fetched files is known"
            paths = {file.name: paths[file.name] for file in _copied(partition, pinned)}
        built = _build(corpus, partition, workspace, pinned, paths)
        clear_transfers(folder)
    return built


def _build(corpus: Corpus, partition: Partition, workspace: Workspace, pinned: Sequence[SourceFile], copies: Mapping[str, Path]) -> Built:
    expected = expected_raw(corpus, partition, workspace)
    assert expected is not None, "the content of all files is known"
    address = raw_address(corpus, partition.key)

    def fill(folder: Path) -> Manifest:
        if published := workspace.store.open(address):
            _warn_of_missing_files(address, published.manifest.inputs["files"], expected.inputs["files"])
        for name, path in copies.items():
            link(path, folder / FILES / name)
        if pinned:
            write_pins(pinned, folder)
        return expected

    return reuse_or_build(workspace.store, address, expected, fill, holding=_held(partition, pinned))


def _warn_of_missing_files(address: str, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Log a warning about files of the published version that no longer exist, given digests by name. Renamed files still do."""
    contents = set(now.values())
    if gone := sorted(name for name, content in before.items() if name not in now and content not in contents):
        logger.warning("%s is built without %s of its earlier version: %s", address, counted(len(gone), "file"), listed(gone))


def pinned_partition(corpus: Corpus, key: str, workspace: Workspace, listed: Partition | None, needed_by: str) -> Partition:
    """Return a partition as its raw artifact recorded it, or as the source lists it if any path of the source is local.

    Parameters
    ----------
    listed
        The partition as the source lists it; None if all paths are remote and were not listed.
    needed_by
        Address of the artifact that needs the partition, for the error message.

    Raises
    ------
    MissingArtifactsError
        The partition has no raw artifact.
    """
    if any(workspace.sources.remote(path) is None for path in corpus.config.source.paths):
        assert listed is not None, "a source with local files is listed before its partitions are built"
        return listed
    raw = require(workspace.store, raw_address(corpus, key), needed_by=needed_by)
    manifest, pins = raw.manifest, pins_of(raw)
    splits: Mapping[str, str] = manifest.settings.get("splits", {})
    origins: Mapping[str, str] = manifest.details.get("origins", {})

    def recorded(name: str) -> SourceFile:
        pin, split = pins.get(name), held_out(splits.get(name, ""))
        if pin:
            return SourceFile(name=name, origin=pin.origin, size=pin.size, stamp=pin.stamp, split=split)
        size = manifest.files[f"{FILES}/{name}"].bytes
        return SourceFile(name=name, origin=origins.get(name, name), size=size, stamp=(), split=split)

    files = map(recorded, sorted(manifest.inputs["files"]))
    return Partition(key=key, files=tuple(files))


def readable_files(partition: Partition, raw: Artifact, workspace: Workspace) -> list[Readable]:
    """Return the files of a partition to read: local ones, objects as the raw artifact pinned them, and copies in its snapshot."""
    pins = pins_of(raw)
    snapshot = raw.folder(FILES) / FILES if any(name.startswith(f"{FILES}/") for name in raw.manifest.files) else raw.path / FILES
    are_small = fit(pin.size for pin in pins.values())
    files: list[Readable] = []
    for file in partition.files:
        if file.path is None and file.name in pins:
            pin = pins[file.name]
            pinned = replace(file, origin=pin.origin, size=pin.size, stamp=pin.stamp)
            files.append(workspace.sources.pinned(pinned, is_small=are_small))
        else:
            files.append(LocalFile(name=file.name, origin=file.origin, path=file.path or snapshot / file.name))
    return files


def _digests(corpus: Corpus, key: str, workspace: Workspace) -> DigestCache:
    return DigestCache(workspace.store.state("digests", f"{corpus.config.name}/{key}"))


def _manifest(partition: Partition, content: Mapping[str, str]) -> Manifest:
    settings = {"splits": partition.splits} if partition.splits else {}
    expected = Manifest.expected(STEP, code_version=CODE_VERSION, inputs={"files": content}, settings=settings)
    origins = {file.name: file.origin for file in partition.files if file.path is None and not is_identity(content[file.name])}
    details = {"origins": origins} if origins else {}
    return replace(expected, counts={"files": len(content), "bytes": partition.bytes}, details=details)


def _facts(built: Built) -> Facts:
    manifest = built.artifact.manifest
    origins = {**manifest.details.get("origins", {}), **{name: pin.origin for name, pin in pins_of(built.artifact).items()}}
    files = [str(origins.get(name, name)) for name in list(manifest.inputs["files"])[:_LISTED]]
    return {
        "files": manifest.counts["files"],
        "bytes": manifest.counts["bytes"],
        **({"read in place": True} if has_pins(built.artifact) else {}),
        "source files": Listing(items=files),
        **built_facts(built),
    }


RAW = Step(
    name=STEP,
    scope=Scope.PARTITION,
    code_version=CODE_VERSION,
    input=None,
    description="The files of the source, pinned by their content.",
    kinds=frozenset({"file"}),
    expected=expected_raw,
    build=build_raw,
    holds=held_files,
    unread=unread_files,
    pinned=pinned_partition,
    facts=_facts,
    totals=attrgetter("counts"),
)
