"""Listings of what cannot change, remembered."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from phyagi_assets.sources.files import LeftOut, Listing, SourceFile
from phyagi_assets.store.state import recall, remember


class ListingNotes:
    """The listing of one corpus as it was last asked for.

    Parameters
    ----------
    path
        The JSON file that remembers it. Losing it costs a listing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def recall(self, asked: Sequence[Any]) -> Listing | None:
        """The listing, if that is what was asked for the last time."""
        with suppress(ValueError, TypeError, KeyError):
            noted = recall(self._path)
            if noted["asked"] == list(asked):
                files = tuple(SourceFile(**{**file, "stamp": tuple(file["stamp"])}) for file in noted["files"])
                return Listing(files=files, left_out=tuple(LeftOut(**file) for file in noted["left_out"]))
        return None

    def keep(self, asked: Sequence[Any], listing: Listing) -> None:
        """Remember a listing of remote files."""
        remember(self._path, {"asked": list(asked), **asdict(listing)})
