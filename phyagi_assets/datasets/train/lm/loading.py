"""Load datasets and tokenizers by their names."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phyagi_assets.errors import SourceError, TokenizerError

if TYPE_CHECKING:
    import datasets


def load_splits(
    dataset_path: str | None,
    dataset_name: str | None,
    disk_file_path: str | Path | None,
    data_dir: str | None,
    data_files: str | Sequence[str] | Mapping[str, Any] | None,
    revision: str | None,
    raw_dir: str | Path | None,
) -> "datasets.DatasetDict":
    """Load all splits, with ``datasets``.

    Raises
    ------
    ValueError
        Neither a dataset nor a folder is named, or both are.
    SourceError
        There is no training split, or the Hub cannot be reached.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk

    if (dataset_path is None) == (disk_file_path is None):
        raise ValueError("dataset_path, disk_file_path: give one, the name of a dataset or the folder that save_to_disk wrote")
    if dataset_path is None:
        loaded = load_from_disk(str(disk_file_path))
        if not isinstance(loaded, DatasetDict):
            loaded = DatasetDict(train=loaded)
    else:
        try:
            loaded = load_dataset(
                _present_name(dataset_path, revision),
                dataset_name,
                data_dir=data_dir,
                data_files=data_files,
                revision=revision,
                cache_dir=str(raw_dir) if raw_dir is not None else None,
            )
        except ConnectionError as problem:
            raise SourceError(
                f"{dataset_path}: {problem}; without the Hub, what was loaded before is found by its full name alone, such as "
                "Salesforce/wikitext"
            ) from problem
    if "train" not in loaded:
        raise SourceError(f"{dataset_path or disk_file_path}: has no split 'train'; it has {', '.join(loaded)}")
    return loaded


def _present_name(path: str, revision: str | None) -> str:
    """The name that a dataset of the Hub has now: ``wikitext`` has become ``Salesforce/wikitext``, and ``datasets`` asks for the latter."""
    from huggingface_hub import HfApi

    is_format = path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}") is not None  # json, parquet and the like
    if "/" in path or is_format or Path(path).exists():
        return path
    try:
        return HfApi().dataset_info(path, revision=revision).id
    except Exception:  # no such name, no network, no permission: load_dataset finds it in its cache, or says what is wrong
        return path


def named_tokenizer(tokenizer: Any) -> Any:
    """Return a tokenizer by its name, or the given one.

    Raises
    ------
    TokenizerError
        There is no tokenizer of that name, or it cannot be loaded.
    """
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(tokenizer, trust_remote_code=False)
    except Exception as problem:  # whatever a loader raises, it is this tokenizer that cannot be had
        raise TokenizerError(f"tokenizer {str(tokenizer)!r} cannot be loaded: {' '.join(str(problem).split())}") from problem
