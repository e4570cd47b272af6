"""Load datasets and tokenizers by name."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phyagi_assets.errors import SourceError, TokenizerError

if TYPE_CHECKING:
    import datasets


def load_splits(module: Any, dataset_path: str | None, disk_file_path: str | Path | None, **options: Any) -> "datasets.DatasetDict":
    """Load all splits of a dataset, with the functions of ``datasets`` that are attributes of a module.

    Parameters
    ----------
    module
        The module, with attributes ``load_dataset`` and ``load_from_disk``.
    dataset_path, disk_file_path
        Name of a dataset, or folder that ``save_to_disk`` wrote; one of the two.
    **options
        Further arguments of ``load_dataset``.

    Raises
    ------
    ValueError
        Neither a dataset nor a folder is named, or both are.
    SourceError
        The dataset has no training split, or the Hub cannot be reached.
    """
    from datasets import DatasetDict

    if (dataset_path is None) == (disk_file_path is None):
        raise ValueError("dataset_path, disk_file_path: give one, the name of a dataset or the folder that save_to_disk wrote")
    if dataset_path is None:
        loaded = module.load_from_disk(str(disk_file_path))
    else:
        try:
            loaded = module.load_dataset(_present_name(dataset_path, options.get("revision")), **options)
        except ConnectionError as problem:
            raise SourceError(
                f"{dataset_path}: {problem}; without the Hub, cached datasets are found only by their full name, such as "
                "Salesforce/wikitext"
            ) from problem
    if not isinstance(loaded, DatasetDict):
        loaded = DatasetDict(train=loaded)
    if "train" not in loaded:
        raise SourceError(f"{dataset_path or disk_file_path}: has no split 'train'; it has {', '.join(loaded)}")
    return loaded


def _present_name(path: str, revision: str | None) -> str:
    """Return the current name of a dataset on the Hub, which ``datasets`` needs: ``Salesforce/wikitext`` for ``wikitext``."""
    from huggingface_hub import HfApi

    is_format = path.isidentifier() and find_spec(f"datasets.packaged_modules.{path}") is not None  # such as json and parquet
    if "/" in path or is_format or Path(path).exists():
        return path
    try:
        current: str = HfApi().dataset_info(path, revision=revision).id
        return current
    except Exception:  # unknown name, no network, no permission: load_dataset uses its cache or reports the error
        return path


def named_tokenizer(module: Any, tokenizer: Any) -> Any:
    """Load a tokenizer by name, with the ``AutoTokenizer`` that is an attribute of a module; return a tokenizer object unchanged.

    Raises
    ------
    TokenizerError
        The tokenizer does not exist or cannot be loaded.
    """
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    auto = module.AutoTokenizer  # outside the try: a missing package is not an error of the tokenizer
    try:
        return auto.from_pretrained(tokenizer, trust_remote_code=False)
    except Exception as problem:  # loaders raise many types of errors
        raise TokenizerError(f"tokenizer {str(tokenizer)!r} cannot be loaded: {' '.join(str(problem).split())}") from problem
