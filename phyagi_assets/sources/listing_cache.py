"""Cached listings of sources that cannot change, such as a commit of a repository."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phyagi_assets.sources.files import LeftOut, Listing, SourceFile
from phyagi_assets.store.state import recall, remember


class ListingCache:
    """Cache of the latest listing of one corpus.

    Parameters
    ----------
    path
        Path of the JSON file. If it is lost, the source is listed again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, asked: Sequence[Any]) -> Listing | None:
        """Return the cached listing if it answers the same request, else None.

        Parameters
        ----------
        asked
            The request: everything that determines the listing, as values of JSON.
        """
        with suppress(ValueError, TypeError, KeyError):
            noted = recall(self._path)
            if noted["asked"] == list(asked):
                files = tuple(SourceFile(**{**file, "stamp": tuple(file["stamp"])}) for file in noted["files"])
                return Listing(files=files, left_out=tuple(LeftOut(**file) for file in noted["left_out"]))
        return None

    def keep(self, asked: Sequence[Any], listing: Listing) -> None:
        """Cache a listing of remote files.

        Parameters
        ----------
        asked
            The request: everything that determines the listing, as values of JSON.
        listing
            The listing.
        """
        remember(self._path, {"asked": list(asked), **asdict(listing)})
