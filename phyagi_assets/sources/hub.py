"""Sources on the Hugging Face Hub, read by its own clients, which take its address and the token from the environment."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import FORMAT_OF_SUFFIX, SourceConfig
from phyagi_assets.errors import SourceError
from phyagi_assets.formatting import listed, one_line
from phyagi_assets.objects.retries import RetryPolicy, within
from phyagi_assets.sources.compression import plain_suffix
from phyagi_assets.sources.files import LeftOut, Listing, SourceFile, also_left_out, held_out, warn_of_split
from phyagi_assets.sources.globs import Glob
from phyagi_assets.sources.hub_errors import translated
from phyagi_assets.sources.transfer import Fetched, OnBytes, append_chunks
from phyagi_assets.store.base import Store

SCHEME = "hf://"

_SECONDS = 30
"""Time limit for a response, in seconds."""
_LISTING_SECONDS = 900
"""Time limit for listing a commit, in seconds: some requests of the Hub's clients have none of their own."""
_COMMIT_SECONDS = 10.0
"""Time limit for finding the commit of a model, in seconds, including all retries."""
_MODEL_RETRIES = RetryPolicy(attempts=3, pause=0.5)
"""Retry policy for finding the commit of a model, and for fetching its files, for which the Hub's client retries requests too."""
_LARGE = 1 << 26
"""Size in bytes from which a file is fetched by the Hub's own client, which is faster for large files."""
_RULES = 2
"""Version of the rules of listing. Listings cached under another version are not used."""


class Hub:
    """Client that lists and fetches files of dataset repositories on the Hub.

    A branch or tag is first resolved to its commit. All other requests are about the commit, which never changes.

    Parameters
    ----------
    store
        Store that caches the latest listing of each corpus, which is valid for its commit.
    """

    def __init__(self, retry_policy: RetryPolicy, store: Store) -> None:
        self._retry_policy, self._store = retry_policy, store

    def files(self, corpus: Corpus, declared: str) -> Listing:
        """List the files of the declared configurations of a repository, or those that a glob matches.

        Parameters
        ----------
        declared
            Declared path, ``hf://org/name`` or ``hf://org/name/glob``.

        Raises
        ------
        DeclarationError
            The path names no repository, its glob matches nothing, or a configuration does not exist.
        SourceError
            The repository or the revision does not exist or cannot be read.
        """
        repository, pattern = _parsed(corpus, declared)
        source = corpus.config.source
        return self._retry_policy.with_retries(f"{SCHEME}{repository}", lambda: self._list(corpus, source, repository, pattern))

    def _list(self, corpus: Corpus, source: SourceConfig, repository: str, pattern: str) -> Listing:
        from huggingface_hub import HfApi

        with translated("dataset", source.revision):
            found = HfApi().dataset_info(repository, revision=source.revision, timeout=_SECONDS)
        identity, commit = str(found.id), str(found.sha)
        state = self._store.state("listings", corpus.config.name)
        request = [_RULES, identity, commit, pattern, list(source.name), corpus.config.partition_by == "configuration"]
        with suppress(ValueError, TypeError, KeyError):  # no listing is cached, or it is damaged
            known = state.recall()
            if known["asked"] == request:
                files = tuple(SourceFile(**{**file, "stamp": tuple(file["stamp"])}) for file in known["files"])
                return Listing(files=files, left_out=tuple(LeftOut(**file) for file in known["left_out"]))
        with translated("dataset", source.revision):
            listing = within(_LISTING_SECONDS, "the Hub", lambda: self._list_commit(corpus, identity, commit, pattern))
        state.remember({"asked": request, **asdict(listing)})
        return listing

    def _list_commit(self, corpus: Corpus, repository: str, commit: str, pattern: str) -> Listing:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = HfApi().list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        files = {entry.path: _file(repository, commit, entry) for entry in tree if isinstance(entry, RepoFile)}
        if not pattern:
            return _configuration_listing(corpus, repository, commit, files)
        glob = Glob(pattern)
        names = {path: "/".join(path.split("/")[glob.fixed :]) for path in files if glob.matches(path)}
        left_out = [LeftOut(origin=file.origin, reason=reason) for path, file in files.items() if (reason := glob.left_out(path))]
        if not names:
            found = also_left_out(left_out) or f"; it has {listed(sorted(files)) or 'no files'}"
            raise corpus.error(f"no file of {repository} at {commit} matches {pattern}{found}", "source", "path")
        return Listing(files=tuple(replace(files[path], name=name) for path, name in names.items()), left_out=tuple(left_out))

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch a file; see `Remote.fetch`."""
        from huggingface_hub import hf_hub_download

        repository, _, rest = file.origin.removeprefix(SCHEME).partition("@")
        commit, _, path = rest.partition("/")
        with translated("dataset", fetches=True):
            if file.size < _LARGE:
                arrived = append_chunks(folder / "content", file.size, lambda start: _content(repository, commit, path, start), on_bytes)
            else:
                arrived = Path(hf_hub_download(repository, path, repo_type="dataset", revision=commit, local_dir=folder))
                on_bytes(file.size)
        algorithm, value, _ = file.stamp
        return Fetched(path=arrived, checksum=str(value), algorithm=str(algorithm))


def commit_of_model(name: str, revision: str) -> str | None:
    """Return the commit of a branch or tag of a model's repository; None if the Hub gives none.

    Raises
    ------
    SourceError
        The repository or the revision does not exist or cannot be read.
    SourceDownError
        The Hub does not answer within the time limit. A scan requests the commit after the listing of its source, and has to end in time.
    """
    from huggingface_hub import HfApi

    def ask() -> str | None:
        with translated("model", revision):
            found = HfApi().model_info(name, revision=revision, timeout=_COMMIT_SECONDS).sha
        return str(found) if found else None

    what = f"tokenizer {name}@{revision} on the Hub"
    return within(_COMMIT_SECONDS, what, lambda: _MODEL_RETRIES.with_retries(what, ask))


def fetch_of_model(name: str, commit: str, is_wanted: Callable[[str], bool]) -> Path | None:
    """Fetch files of a model's repository into the cache of the Hub's client; return the folder of the commit there, None if there is none.

    Every wanted file has then been fetched. Loaders continue without an optional file if the Hub does not answer when they ask for it.

    Parameters
    ----------
    is_wanted
        Returns whether to fetch a file, given its path in the repository.

    Raises
    ------
    SourceError
        The repository or the commit does not exist or cannot be read.
    SourceDownError
        The Hub does not answer.
    """
    from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch() -> Path | None:
        with translated("model", commit):
            if constants.HF_HUB_OFFLINE:
                with suppress(LocalEntryNotFoundError):
                    return Path(snapshot_download(name, revision=commit, local_files_only=True))
                raise SourceError("is not in the cache of the Hub's clients, which are in offline mode; unset HF_HUB_OFFLINE")
            wanted = [path for path in HfApi().list_repo_files(name, revision=commit) if is_wanted(path)]
            folders = [Path(hf_hub_download(name, path, revision=commit)).parents[path.count("/")] for path in wanted]
            return folders[0] if folders else None

    return _MODEL_RETRIES.with_retries(f"tokenizer {name}@{commit} on the Hub", fetch)


def _content(repository: str, commit: str, path: str, start: int) -> Iterator[bytes]:
    """Yield the content of a file from an offset on, with one request; the Hub's client would first request what the listing has."""
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    url = hf_hub_url(repository, path, repo_type="dataset", revision=commit)
    headers = {**build_hf_headers(), "Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    with get_session().stream("GET", url, headers=headers, timeout=_SECONDS, follow_redirects=True) as response:
        hf_raise_for_status(response)
        yield from response.iter_bytes(1 << 20)


def _parsed(corpus: Corpus, declared: str) -> tuple[str, str]:
    """Split a declared path into the repository and the glob, which may be empty."""
    parts = declared.removeprefix(SCHEME).removeprefix("datasets/").split("/")
    repository, pattern = "/".join(parts[:2]), "/".join(parts[2:])
    if not all(parts[:2]) or "@" in declared:
        raise corpus.error(
            f"{declared!r} is not a repository; name one as in hf://org/name, or its files as in hf://org/name/data/*.jsonl, and the "
            "branch, tag or commit with source.revision",
            "source",
            "path",
        )
    return repository, pattern


def _file(repository: str, commit: str, entry: Any) -> SourceFile:
    stamp = ("sha256", entry.lfs.sha256, entry.size) if entry.lfs else ("git", entry.blob_id, entry.size)
    return SourceFile(name=entry.path, origin=f"{SCHEME}{repository}@{commit}/{entry.path}", size=entry.size, stamp=stamp)


def _configuration_listing(corpus: Corpus, repository: str, commit: str, files: dict[str, SourceFile]) -> Listing:
    """List the files of the declared configurations, with their splits, as ``load_dataset`` reads them."""
    from datasets import get_dataset_config_names, load_dataset_builder

    wanted: Sequence[str | None] = corpus.config.source.name or (None,)
    dataset = f"{SCHEME}datasets/{repository}"  # by its name alone, a folder of that name in the working directory would be read
    if corpus.config.partition_by == "configuration" and not corpus.config.source.name:
        wanted = get_dataset_config_names(dataset, revision=commit)
    chosen: dict[str, SourceFile] = {}
    for name in wanted:
        try:
            builder = load_dataset_builder(dataset, name, revision=commit)
        except ValueError as problem:
            found = one_line(str(problem).partition("Example of usage")[0])
            raise corpus.error(f"{repository}: {found}", "source", "name") from None
        for split, urls in (builder.config.data_files or {}).items():
            warn_of_split(str(split), f"hf://{repository}")
            for url in urls:
                path = url.partition(f"@{commit}/")[2]
                if path not in files:
                    raise SourceError(f"its README names {path or url}, which is not a file of the repository; name files in source.path")
                if path in chosen:
                    both = f"{chosen[path].configuration!r} and {builder.config.name!r}"
                    raise corpus.error(f"{repository}: {path} is in the configurations {both}; name one of them", "source", "name")
                chosen[path] = replace(files[path], split=held_out(str(split)), configuration=str(builder.config.name))
    if not chosen:
        raise corpus.error(f"{repository} has no data files; name some, as in hf://{repository}/data/*.jsonl", "source", "path")
    return Listing(files=tuple(chosen.values()), left_out=() if corpus.config.source.name else _in_other_formats(files, chosen))


def _in_other_formats(files: Mapping[str, SourceFile], chosen: Mapping[str, SourceFile]) -> tuple[LeftOut, ...]:
    """Find the files that look like documents but that ``load_dataset`` skips, because it reads files of only one format."""
    read = {plain_suffix(path) for path in chosen}
    formats = FORMAT_OF_SUFFIX.keys() - read - {".txt"}  # .txt is usually a licence
    others = [file for path, file in files.items() if plain_suffix(path) in formats and path not in chosen and path != "dataset_infos.json"]
    reason = f"not {' or '.join(sorted(read))}: a dataset is read in one format; name the others in source.path"
    return tuple(LeftOut(origin=file.origin, reason=reason) for file in others)
