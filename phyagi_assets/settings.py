"""The data folder and the store: from an argument, else the environment, else the working directory."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formatting import parsed_size
from phyagi_assets.paths import real_path

DATA_VARIABLE = "PHYAGI_ASSETS_DATA"
STORE_VARIABLE = "PHYAGI_ASSETS_STORE"
REPORTS_VARIABLE = "PHYAGI_ASSETS_REPORTS"
CACHE_VARIABLE = "PHYAGI_ASSETS_CACHE"
CACHE_BYTES_VARIABLE = "PHYAGI_ASSETS_CACHE_BYTES"
_SCHEME = re.compile(r"\s*((?i:s3|gs|az)(?=:)|[A-Za-z][A-Za-z0-9+.-]+(?=:/))")
"""The beginning of a URI, even after a space or for a bucket without slashes. ``pathlib`` makes ``s3:/bucket`` of
``s3://bucket``, and a drive has one letter."""


_BUCKET = re.compile(r"(?:s3|gs|az)://[A-Za-z0-9][A-Za-z0-9._-]*(?:/(?![./])[^/?#@\\\s]+(?: +[^/?#@\\\s]+)*)*/?")
"""Address of a bucket, or of a folder in it. The parts of the folder's path do not begin with a dot."""


class BucketAddress(str):
    """Address of a store in a bucket, without a slash at its end.

    Raises
    ------
    PhyagiAssetsError
        The text is not such an address.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> "BucketAddress":
        if not _BUCKET.fullmatch(text):
            raise PhyagiAssetsError(f"the store {text!r} is not a valid address; write it as in s3://bucket/folder, gs://… or az://…")
        return super().__new__(cls, text.rstrip("/"))

    @property
    def digest(self) -> str:
        """Name of the folders on this machine that belong to the store."""
        return hashlib.sha256(self.encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The data folder and the store."""

    data: Path
    """Absolute path of the data folder, with ``corpora/*.yaml``, ``mixtures/*.yaml`` and the files that they name."""
    store: Path | BucketAddress
    """Absolute path or address of the store, the folder of the artifacts."""

    @classmethod
    def resolve(cls, *, data: str | Path | None = None, store: str | Path | None = None) -> "Settings":
        """Resolve both.

        Parameters
        ----------
        data
            The data folder; by default ``$PHYAGI_ASSETS_DATA``, else ``data`` in the working directory.
        store
            The store; by default ``$PHYAGI_ASSETS_STORE``, else ``store`` in the data folder.

        Raises
        ------
        PhyagiAssetsError
            The store is a file or behind a link that leads nowhere, the data folder is a URI, the store is one of an unknown kind, a path
            cannot be used, or an argument is empty, for example because of an unset variable.
        """
        chosen = local_folder(data if data is not None else os.environ.get(DATA_VARIABLE) or "data", "data folder")
        kept = store if store is not None else os.environ.get(STORE_VARIABLE) or None
        settled = cls(data=chosen, store=store_place(kept) if kept is not None else local_folder(chosen / "store", "store"))
        if isinstance(settled.store, Path) and settled.store.is_file():
            raise PhyagiAssetsError(f"{settled.store}: is a file; the store is a folder, named with --store or ${STORE_VARIABLE}")
        refuse_dangling(settled.store, f"name another store with --store or ${STORE_VARIABLE}")
        return settled

    @property
    def dagster_home(self) -> Path:
        """Folder of Dagster's instance: ``$DAGSTER_HOME``, else ``.dagster`` in the store.

        The default for a store in a bucket is ``~/.local/share/phyagi-assets/<digest of its address>``.
        """
        if home := os.environ.get("DAGSTER_HOME"):
            return local_folder(home, "folder DAGSTER_HOME")
        if isinstance(self.store, Path):
            return self.store / ".dagster"
        return user_folder("XDG_DATA_HOME", "~/.local/share") / "phyagi-assets" / self.store.digest

    @property
    def has_store(self) -> bool:
        """Whether the store is a folder that exists, or a bucket."""
        return not isinstance(self.store, Path) or self.store.is_dir()

    def create_dagster_home(self) -> Path:
        """Create the folder of Dagster's instance, if it does not exist, and return it.

        Raises
        ------
        PhyagiAssetsError
            It cannot be created.
        """
        home = self.dagster_home
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise self.home_error(problem) from None
        return home

    def home_error(self, problem: OSError) -> PhyagiAssetsError:
        """Return the error about a folder of Dagster's instance that cannot be created."""
        is_in_store = isinstance(self.store, Path) and self.dagster_home.is_relative_to(self.store)
        remedy = f"choose another store with --store or ${STORE_VARIABLE}" if is_in_store else "set DAGSTER_HOME to another folder"
        return PhyagiAssetsError(f"{self.dagster_home}: cannot be created: {problem.strerror}; {remedy}")

    def require_data(self) -> Path:
        """Return the data folder.

        Raises
        ------
        PhyagiAssetsError
            It does not exist; the message says how to make one.
        """
        if not self.data.is_dir():
            above = self.data.parent
            if (above / "corpora").is_dir():
                raise PhyagiAssetsError(
                    f"{self.data}: there is no data folder here, but {above} is one; run the command in {above.parent}, "
                    f"or name the data folder with --data {above}"
                )
            raise PhyagiAssetsError(
                f"{self.data}: there is no data folder here; name one with --data or ${DATA_VARIABLE}, "
                "or make one with: phyagi-assets init DIR"
            )
        return self.data


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheSettings:
    """The cache of a training process that reads a store in a bucket."""

    folder: Path | None
    """Absolute path of the cache folder; None for the scratch folder of the store."""
    bytes: int | None
    """Largest size of the cache in bytes; None for half of the free space of the disk."""

    @classmethod
    def resolve(cls, folder: str | Path | None = None, size: int | str | None = None) -> "CacheSettings":
        """Resolve both.

        Parameters
        ----------
        folder
            The folder; by default ``$PHYAGI_ASSETS_CACHE``.
        size
            The size, in bytes or as text such as ``200GB``; by default ``$PHYAGI_ASSETS_CACHE_BYTES``.

        Raises
        ------
        PhyagiAssetsError
            The folder cannot be used, or the size is not a positive size.
        """
        named = folder if folder is not None else os.environ.get(CACHE_VARIABLE) or None
        source, given = ("cache_bytes", size) if size is not None else (f"${CACHE_BYTES_VARIABLE}", os.environ.get(CACHE_BYTES_VARIABLE))
        try:
            bound = parsed_size(given) if given is not None and given != "" else None
        except ValueError as problem:
            raise PhyagiAssetsError(f"{source}: {problem}") from None
        if bound is not None and bound <= 0:
            raise PhyagiAssetsError(f"{source}: is {bound}; use a positive size, such as 200GB")
        return cls(folder=local_folder(named, "cache folder") if named is not None else None, bytes=bound)


def store_place(named: str | Path) -> Path | BucketAddress:
    """Return the absolute path or the address of a store.

    Raises
    ------
    PhyagiAssetsError
        The store is a URI of an unknown kind, or its path or address is not valid.
    """
    scheme = _SCHEME.match(str(named))
    if scheme is None:
        return local_folder(named, "store")
    if scheme[1].lower() in ("s3", "gs", "az"):
        return BucketAddress(str(named))
    raise PhyagiAssetsError(f"the store is a folder, or in a bucket (s3://, gs://, az://); {scheme[1]}: addresses are not supported for it")


def refuse_dangling(store: Path | BucketAddress, remedy: str) -> None:
    """Raise an error that ends with a remedy if a store is behind a dangling link, such as a link to a disk that is not mounted."""
    if isinstance(store, BucketAddress) or store.exists():
        return
    for link in (store, *store.parents):
        if link.is_symlink() and not link.exists():
            raise PhyagiAssetsError(
                f"the store {store} is not there: {link} is a link to {link.readlink()}, which leads nowhere; mount its disk, or {remedy}"
            )


def holds(place: Path | BucketAddress, other: Path | BucketAddress) -> bool:
    """Return whether a folder or an address is another one or contains it; links are followed."""
    if isinstance(place, Path) and isinstance(other, Path):
        return real_path(other).is_relative_to(real_path(place))
    return isinstance(place, BucketAddress) and isinstance(other, BucketAddress) and f"{other}/".startswith(f"{place}/")


def local_folder(named: str | Path, what: str) -> Path:
    """Return the absolute path of a folder on this machine.

    Raises
    ------
    PhyagiAssetsError
        It is a URI, or its path cannot be used.
    """
    if not str(named).strip():
        raise PhyagiAssetsError(f"the {what} has an empty name, perhaps from an unset variable; name a folder")
    if scheme := _SCHEME.match(str(named)):
        raise PhyagiAssetsError(f"the {what} is a folder on this machine; {scheme[1]}: addresses are not supported for it")
    try:
        folder = Path(named).expanduser().absolute()
        folder.exists()  # raises an OSError for an impossible path, such as one with a name of 300 bytes
        return folder
    except OSError as problem:
        raise PhyagiAssetsError(f"the {what} {str(named)!r} cannot be used: {problem.strerror}") from None
    except RuntimeError as problem:  # ~nobody
        raise PhyagiAssetsError(f"the {what} {str(named)!r} cannot be found: {problem}") from None


def library_store() -> Path | BucketAddress:
    """Return the store for the library's prepared tokenizers: ``$PHYAGI_ASSETS_STORE``, else one in the user's cache folder."""
    kept = os.environ.get(STORE_VARIABLE)
    if kept:
        return store_place(kept)
    return user_folder("XDG_CACHE_HOME", "~/.cache") / "phyagi-assets"


def user_folder(variable: str, default: str) -> Path:
    """Return the path of a folder or file of the user.

    Parameters
    ----------
    variable
        Environment variable that names the path.
    default
        The path if the variable is not set; it begins with ``~``.

    Raises
    ------
    PhyagiAssetsError
        The user has no home folder, as in a container whose user id has no account.
    """
    try:
        return Path(os.environ.get(variable) or default).expanduser()
    except RuntimeError:
        raise PhyagiAssetsError(f"the home folder of the user cannot be found; set HOME or {variable} to a writable folder") from None
