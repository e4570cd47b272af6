"""raw_dataset: the files of a partition, pinned by their content.

Local files are held by reference: the artifact is a manifest with the digest of each file, and its fingerprint is that of the
content. Where the data folder lies, and when the files were touched, does not enter into it.
"""

from dataclasses import replace
from pathlib import Path

from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.digests import DigestCache
from phyagi_assets.pipeline.manifest import Manifest
from phyagi_assets.pipeline.sources.listing import Partition
from phyagi_assets.pipeline.step import Built, OnProgress, Workspace, reuse_or_build

STAGE = "raw_dataset"
CODE_VERSION = "1"


def raw_address(corpus: Corpus, partition: str) -> str:
    return f"{corpus.config.name}/{STAGE}/{partition}"


def wanted_raw(corpus: Corpus, partition: Partition, workspace: Workspace) -> Manifest:
    """What the partition's raw artifact has to be, from the files as they are now.

    Raises
    ------
    SourceError
        A file cannot be read.
    """
    digests = DigestCache(workspace.store.root / ".digests" / corpus.config.name / f"{partition.key}.json")
    content = {}
    for file in partition.files:
        try:
            content[file.name] = digests.digest(file.path)
        except OSError as problem:
            raise SourceError(f"{file.path}: cannot be read: {problem.strerror}") from None
    digests.save()
    wanted = Manifest.wanted(STAGE, code_version=CODE_VERSION, inputs={"files": content}, settings={})
    return replace(wanted, counts={"files": len(content), "bytes": sum(file.path.stat().st_size for file in partition.files)})


def build_raw(corpus: Corpus, partition: Partition, workspace: Workspace, on_progress: OnProgress | None = None) -> Built:
    """Pin a partition's files as they are now."""
    del on_progress  # pinned files are not read when they look as they did
    wanted = wanted_raw(corpus, partition, workspace)

    def fill(_folder: Path) -> Manifest:
        return wanted

    return reuse_or_build(workspace.store, raw_address(corpus, partition.key), wanted, fill)
