"""Sources on the Hugging Face Hub, with its own clients: where it is, and who asks, is what they take from the environment."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from phyagi_assets.config import SourceConfig
from phyagi_assets.declarations import Corpus
from phyagi_assets.errors import SourceError
from phyagi_assets.pipeline.sources.files import SourceFile, held_out
from phyagi_assets.pipeline.sources.globs import fixed_prefix, glob_regex, is_glob
from phyagi_assets.pipeline.sources.notes import ListingNotes
from phyagi_assets.pipeline.sources.patience import Patience, TransientError
from phyagi_assets.pipeline.sources.transfer import Checksum, Fetched, OnBytes

SCHEME = "hf://"


class Hub:
    """Files of dataset repositories, listed and fetched.

    A branch or tag is resolved to its commit first; all else is asked of the commit, which never changes.

    Parameters
    ----------
    patience
        With a Hub that is down.
    notes
        Where listings are remembered, by commit.
    """

    def __init__(self, patience: Patience, notes: Path) -> None:
        self._patience, self._notes = patience, notes

    def files(self, corpus: Corpus, declared: str) -> list[SourceFile]:
        """The files of a configuration, of several, or of a glob in a repository.

        Raises
        ------
        DeclarationError
            It names no repository, is no glob, matches nothing, or there is no such configuration.
        SourceError
            The repository or the revision is not there, or cannot be read.
        """
        repository, pattern = _parsed(corpus, declared)
        source = corpus.config.source
        return self._patience.with_retries(f"{SCHEME}{repository}", lambda: self._list(corpus, source, repository, pattern))

    def _list(self, corpus: Corpus, source: SourceConfig, repository: str, pattern: str) -> list[SourceFile]:
        from huggingface_hub import HfApi

        with _translated(source):
            found = HfApi().dataset_info(repository, revision=source.revision)
        identity, commit = str(found.id), str(found.sha)
        known = ListingNotes(self._notes / f"{corpus.config.name}.json")
        asked = [identity, commit, pattern, list(source.name), corpus.config.partition_by == "configuration"]
        noted = known.recall(asked)
        if noted is not None:
            return noted
        with _translated(source):
            files = self._list_commit(corpus, identity, commit, pattern)
        known.keep(asked, files)
        return files

    def _list_commit(self, corpus: Corpus, repository: str, commit: str, pattern: str) -> list[SourceFile]:
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        tree = HfApi().list_repo_tree(repository, recursive=True, revision=commit, repo_type="dataset")
        files = {entry.path: _file(repository, commit, entry) for entry in tree if isinstance(entry, RepoFile)}
        if not pattern:
            return _of_configurations(corpus, repository, commit, files)
        start, regex = len(fixed_prefix(pattern).rpartition("/")[0]), glob_regex(pattern)
        chosen = [replace(file, name=path[start:].lstrip("/")) for path, file in files.items() if regex.fullmatch(path)]
        if not chosen:
            raise corpus.error(f"no file of {repository} at {commit} matches {pattern}", "source", "path")
        return chosen

    def fetch(self, file: SourceFile, folder: Path, on_bytes: OnBytes) -> Fetched:
        """Fetch a file; the Hub's client goes on where an earlier try broke off.

        Raises
        ------
        SourceError
            It is not there.
        TransientError
            The transfer broke off.
        """
        from huggingface_hub import hf_hub_download

        repository, _, rest = file.origin.removeprefix(SCHEME).partition("@")
        commit, _, path = rest.partition("/")
        with _translated(None):
            arrived = hf_hub_download(repository, path, repo_type="dataset", revision=commit, local_dir=folder)
        on_bytes(file.size)
        algorithm, value, _ = file.stamp
        return Fetched(path=Path(arrived), checksum=Checksum(algorithm=str(algorithm), value=str(value)))


def _parsed(corpus: Corpus, declared: str) -> tuple[str, str]:
    """The repository and, where there is one, the glob."""
    parts = declared.removeprefix(SCHEME).removeprefix("datasets/").split("/")
    repository, pattern = "/".join(parts[:2]), "/".join(parts[2:])
    if not all(parts[:2]) or "@" in declared:
        raise corpus.error(
            f"{declared!r} is no repository; name one as in hf://org/name, or its files as in hf://org/name/data/*.jsonl, and the "
            "branch, tag or commit with source.revision",
            "source",
            "path",
        )
    if not is_glob(pattern):
        raise corpus.error(f"{pattern!r} is no glob: '**' stands alone between slashes", "source", "path")
    return repository, pattern


def _file(repository: str, commit: str, entry: Any) -> SourceFile:
    stamp = ("sha256", entry.lfs.sha256, entry.size) if entry.lfs else ("git", entry.blob_id, entry.size)
    return SourceFile(name=entry.path, origin=f"{SCHEME}{repository}@{commit}/{entry.path}", size=entry.size, stamp=stamp)


def _of_configurations(corpus: Corpus, repository: str, commit: str, files: dict[str, SourceFile]) -> list[SourceFile]:
    """The files of the configurations that are declared, with the splits that they are in, as ``load_dataset`` has them."""
    from datasets import get_dataset_config_names, load_dataset_builder

    wanted: Sequence[str | None] = corpus.config.source.name or (None,)
    if corpus.config.partition_by == "configuration" and not corpus.config.source.name:
        wanted = get_dataset_config_names(repository, revision=commit)
    chosen: dict[str, SourceFile] = {}
    for name in wanted:
        try:
            builder = load_dataset_builder(repository, name, revision=commit)
        except ValueError as problem:
            raise corpus.error(f"{repository}: {problem}", "source", "name") from None
        for split, urls in (builder.config.data_files or {}).items():
            for url in urls:
                path = url.partition(f"@{commit}/")[2]
                if path in chosen:
                    both = f"{chosen[path].configuration!r} and {builder.config.name!r}"
                    raise corpus.error(f"{repository}: {path} is in the configurations {both}; name one of them", "source", "name")
                chosen[path] = replace(files[path], split=held_out(str(split)), configuration=str(builder.config.name))
    if not chosen:
        raise corpus.error(f"{repository} has no data files; name some, as in hf://{repository}/data/*.jsonl", "source", "path")
    return list(chosen.values())


@contextmanager
def _translated(source: SourceConfig | None) -> Iterator[None]:
    """What the Hub's clients raise, as what may go away and what the user can put right."""
    import httpx
    from huggingface_hub import errors as raised

    revision = source.revision if source else None
    try:
        yield
    except raised.RevisionNotFoundError:
        raise SourceError(f"there is no revision {revision!r}; name a branch, tag or commit with source.revision") from None
    except raised.GatedRepoError:
        raise SourceError("is gated; ask for access on its page, and log in (HF_TOKEN, or: hf auth login)") from None
    except raised.RepositoryNotFoundError:
        raise SourceError("there is no such dataset, or it is private and nobody is logged in (HF_TOKEN, or: hf auth login)") from None
    except raised.RemoteEntryNotFoundError:
        raise SourceError("the file is gone; list the source again") from None
    except raised.OfflineModeIsEnabled:
        raise SourceError("the Hub's clients are told to stay offline (HF_HUB_OFFLINE)") from None
    except raised.HfHubHTTPError as problem:
        status = problem.response.status_code if problem.response is not None else 500
        if status < 500 and status != 429:
            raise SourceError(f"the Hub answers {status}") from None
        raise TransientError(f"the Hub answers {status}") from None
    except (httpx.TransportError, raised.LocalEntryNotFoundError, ConnectionError, TimeoutError) as problem:
        raise TransientError(f"cannot be reached, or broke off: {type(problem).__name__}") from None
    except OSError as problem:  # of the client: the bytes that came are not as many as there are
        if problem.errno is not None:
            raise
        raise TransientError(str(problem)) from None
