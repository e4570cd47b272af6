"""What a source holds now: its files, wherever they lie, divided into partitions."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from phyagi_assets.config import HeldOut
from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import Partition, SourceFile
from phyagi_assets.pipeline.sources.hub import SCHEME as HUB
from phyagi_assets.pipeline.sources.hub import Hub
from phyagi_assets.pipeline.sources.local import list_local
from phyagi_assets.pipeline.sources.partitioning import partitioned
from phyagi_assets.pipeline.sources.patience import Patience
from phyagi_assets.pipeline.sources.s3 import S3
from phyagi_assets.pipeline.sources.s3 import SCHEME as BUCKETS
from phyagi_assets.pipeline.sources.transfer import Remote


class Sources:
    """Everywhere that documents may come from.

    Parameters
    ----------
    data
        The data folder, which relative paths start from.
    notes
        Where listings of what cannot change are remembered.
    patience
        With servers that are down.
    """

    def __init__(self, data: Path, notes: Path, patience: Patience | None = None) -> None:
        self._data, self._notes = data, notes
        self.patience = patience or Patience()

    def remote(self, uri: str) -> Remote | None:
        """The source that a URI names; None for a local path."""
        return self._buckets if uri.startswith(BUCKETS) else self._hub if uri.startswith(HUB) else None

    @cached_property
    def _buckets(self) -> S3:
        return S3(self.patience)

    @cached_property
    def _hub(self) -> Hub:
        return Hub(self.patience, self._notes)

    def partitions(self, corpus: Corpus) -> dict[str, Partition]:
        """List a corpus's source and divide it.

        Returns
        -------
        dict of str to Partition
            By key, in the order of the keys; the files of each in the order of their names.

        Raises
        ------
        DeclarationError
            The source matches no file, is divided into partitions of one name, or has a split that the declaration makes too.
        SourceError
            It cannot be listed: a source that is down is not taken for an empty one.
        """
        files = sorted(self._files(corpus), key=lambda file: file.name)
        made = set(corpus.config.splits)
        for file in files:
            if not all(part.strip(".") for part in file.name.split("/")):
                raise SourceError(f"{file.origin}: its name is no path of a file; rename it")
            if file.split in made:
                message = (
                    f"{file.origin} is in the source's own {file.split} split; take {file.split} out of splits, or it out of the source"
                )
                raise corpus.error(message, "splits")
        return partitioned(corpus, files)

    def _files(self, corpus: Corpus) -> Iterator[SourceFile]:
        declared = corpus.config.source.path
        if isinstance(declared, str):
            yield from self._files_of(corpus, declared)
            return
        for split, path in declared.items():
            own: HeldOut | None = None if split == "train" else split
            for file in self._files_of(corpus, path):
                yield replace(file, name=f"{split}/{file.name}", split=own)

    def _files_of(self, corpus: Corpus, declared: str) -> list[SourceFile]:
        remote = self.remote(declared)
        return remote.files(corpus, declared) if remote else list_local(corpus, declared, self._data)
