"""Provider of datasets of token windows, from a dataset on the Hub or in a folder, a cache or a configuration."""

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from phyagi_assets.datasets.dataset_provider import DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.late_names import late_names
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.datasets.train.lm.loading import load_splits, named_tokenizer
from phyagi_assets.datasets.train.lm.tokenizing import NewCache, _tokenize_concatenated, tokenize_documents
from phyagi_assets.errors import translate_missing_packages
from phyagi_assets.formats.cache_tokenizer import carries_tokenizer, load_tokenizer
from phyagi_assets.formats.token_file import TokenFile, open_tokens

__all__ = ["LMDatasetProvider", "LMProviderConfig", "_tokenize_concatenated"]

LMProviderConfig = DatasetProviderConfig
__getattr__ = late_names(
    load_dataset="datasets",
    load_from_disk="datasets",
    AutoTokenizer="transformers",
    process_dataset_to_memory="phyagi_assets.datasets.shared_memory_utils",  # not used by from_hub, but replaced in tests of other code
    save_memory_dataset="phyagi_assets.datasets.shared_memory_utils",
)

logger = logging.getLogger(__name__)


class LMDatasetProvider(DatasetProvider):
    """A provider of `LMDataset` objects over token arrays.

    Parameters
    ----------
    train_file, validation_file, validation_split, tokenizer_file, seq_len, shift_labels, weight, label, ignore_token_id, random_mask_prob
        As the fields of `DatasetProviderConfig`.
    seed
        Seed of all random choices; None for 42.
    allow_pickle
        Whether `get_tokenizer` may load the ``tokenizer.pkl`` of a cache if there is no folder ``tokenizer/`` next to it. Loading a pickle
        can run arbitrary code. A pickle that `tokenizer_file` names is loaded in any case.
    random_mask_offset
        Mark of tokens, used with `random_mask_prob` (see `LMDataset`); None for 32,768 in 16-bit arrays and 2\\ :sup:`30` in larger ones.
    **kwargs
        ``cache_dir``, as in `DatasetProviderConfig`. Other arguments are ignored with a warning.

    Raises
    ------
    FileNotFoundError
        `cache_dir` does not exist.
    StoreError
        A file is not a token array, or does not match its manifest.
    ValueError
        A value has the wrong type or is out of range; or tokens have marks (`random_mask_prob`), and the tokenizer has ids that cannot be
        distinguished from marked tokens.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> provider = LMDatasetProvider(train_file="tokens.npy", seq_len=4)
    >>> provider.get_train_dataset()[1]["input_ids"]
    tensor([4, 5, 6, 7])
    """

    def __init__(
        self,
        train_file: str | Path | None = None,
        validation_file: str | Path | None = None,
        validation_split: float | int | None = None,
        tokenizer_file: str | Path | None = None,
        seq_len: int = 2048,
        shift_labels: bool = False,
        weight: float = 1.0,
        label: str | None = None,
        ignore_token_id: int = -100,
        random_mask_prob: float | None = None,
        seed: int | None = None,
        *,
        allow_pickle: bool = False,
        random_mask_offset: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(train_file, DatasetProviderConfig):
            raise TypeError(f"train_file: is a configuration; use {type(self).__name__}.from_config(config)")
        cache_dir = kwargs.pop("cache_dir", None)
        if kwargs:
            logger.warning("%s: ignored, because %s does not accept them", ", ".join(kwargs), type(self).__name__)
        self._config = config = DatasetProviderConfig(
            cache_dir=cache_dir,
            train_file=train_file,  # type: ignore[arg-type]  # the configuration turns text into paths
            validation_file=validation_file,  # type: ignore[arg-type]
            validation_split=validation_split,
            tokenizer_file=str(tokenizer_file) if tokenizer_file is not None else None,
            seq_len=seq_len,
            shift_labels=shift_labels,
            weight=weight,
            label=label,
            ignore_token_id=ignore_token_id,
            seed=42 if seed is None else seed,
            random_mask_prob=random_mask_prob,
        )
        self._allow_pickle = allow_pickle
        self._random_mask_offset = random_mask_offset
        train = open_tokens(config.train_file) if config.train_file else None
        validation: TokenFile | None = None
        if train is not None and config.validation_split is not None:
            if config.validation_file:
                logger.warning(
                    "validation_split: %s of the training tokens are used for validation, and %s is ignored",
                    *(config.validation_split, config.validation_file),
                )
            train, validation = train.divided(config.validation_split)
        elif config.validation_file:
            validation = open_tokens(config.validation_file)
        self._train, self._validation = train, validation
        vocabulary = next((tokens.vocabulary for tokens in (train, validation) if tokens and tokens.vocabulary), None)
        self._set_attributes(weight=config.weight, label=label, vocabulary=vocabulary)
        if config.random_mask_prob is not None:
            self._refuse_collision()

    def _refuse_collision(self) -> None:
        for tokens in filter(None, (self._train, self._validation)):
            offset = self._offset(tokens)
            if tokens.vocabulary is not None and tokens.vocabulary.max_id >= offset:
                raise ValueError(
                    f"random_mask_offset: is {offset}, but the tokenizer has ids up to {tokens.vocabulary.max_id}; "
                    "an id at or above the mark cannot be distinguished from a marked token"
                )

    def _offset(self, tokens: TokenFile) -> int:
        if self._random_mask_offset is not None:
            return self._random_mask_offset
        return 1 << 15 if tokens.ids.dtype.itemsize <= 2 else 1 << 30

    @classmethod
    def from_config(cls, config: DatasetProviderConfig, *, allow_pickle: bool = False, random_mask_offset: int | None = None) -> Self:
        """Create a provider from a configuration, without modifying the configuration."""
        return cls(**config.to_dict(), allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_cache(cls, cache_dir: str | Path, **kwargs: Any) -> Self:
        """Create a provider from a cache folder or a ``.npy`` file; `kwargs` are further arguments of the class."""
        return cls(cache_dir=cache_dir, **kwargs)

    @classmethod
    @translate_missing_packages()
    def from_hub(
        cls,
        dataset_path: str | None = None,
        dataset_name: str | None = None,
        disk_file_path: str | Path | None = None,
        data_dir: str | None = None,
        data_files: str | Sequence[str] | Mapping[str, Any] | None = None,
        revision: str | None = None,
        tokenizer: Any = None,
        mapping_fn: Callable[..., Any] | None = None,
        mapping_fn_kwargs: Mapping[str, Any] | None = None,
        mapping_column_name: str | Sequence[str] | None = None,
        validation_split: float | int = 0.0,
        shuffle: bool = True,
        seed: int = 42,
        num_workers: int = 1,
        use_eos_token: bool = True,
        use_shared_memory: bool = True,
        cache_dir: str | Path | None = "cache",
        raw_dir: str | Path | None = None,
        **kwargs: Any,
    ) -> Self:
        """Load a dataset, tokenize it into a cache, and return a provider of the cache.

        Parameters
        ----------
        dataset_path, dataset_name
            As in ``datasets.load_dataset``.
        disk_file_path
            A folder written by ``save_to_disk``, instead of a dataset on the Hub.
        data_dir, data_files, revision
            As in ``datasets.load_dataset``.
        tokenizer
            A tokenizer, or its name; None for ``gpt2``. A tokenizer without a fast version, or of another library than ``transformers``, is
            called for batches of texts in ``dataset.map``, which is slower.
        mapping_fn, mapping_fn_kwargs
            Function for batched ``dataset.map``, which replaces the pipeline's tokenizing, and its keyword arguments. It returns
            ``input_ids`` and, optionally, ``labels``. If its signature has parameters `tokenizer`, `mapping_column_name`, `use_eos_token`
            or `dtype`, these values are passed.
        mapping_column_name
            Names of the text columns; None for ``text``.
        validation_split
            Part of the training tokens to use for validation if the dataset has no validation split, in whole documents: a fraction
            below 1, or a number of tokens; 0 for none.
        shuffle, seed
            Whether to shuffle documents before that part is separated, and the seed.
        num_workers
            Number of processes for `mapping_fn`; the pipeline's tokenizing always uses all cores.
        use_eos_token
            Whether to append the tokenizer's EOS to every non-empty document.
        use_shared_memory
            Unused; accepted for scripts of the reference library. Arrays are written to disk directly and never held in memory.
        cache_dir
            The cache folder; an existing cache is replaced. None for ``cache``.
        raw_dir
            Folder for the downloads of ``datasets``.
        **kwargs
            Further arguments of the class, such as `seq_len`.

        Raises
        ------
        ValueError
            Neither a dataset nor a folder is named, or a number is out of range.
        SourceError
            The dataset has no training split, a column does not exist or does not contain text, or a split has no text.
        TokenizerError
            The tokenizer cannot be loaded, is not a tokenizer, or has no EOS although one is requested.
        """
        cache_dir = Path("cache" if cache_dir is None else cache_dir).expanduser()
        cls(seed=seed, **kwargs)  # raises an error for an invalid value before the work begins
        DatasetProviderConfig(validation_split=validation_split)
        logger.info("Loading non-tokenized dataset...")
        this = sys.modules[__name__]
        options = {"name": dataset_name, "data_dir": data_dir, "data_files": data_files, "revision": revision}
        raw = str(raw_dir) if raw_dir is not None else None
        loaded = load_splits(this, dataset_path, disk_file_path, **options, cache_dir=raw)
        logger.info("Creating validation split (if necessary)...")
        part = validation_split or None if "validation" not in loaded else None
        shuffled = part is not None and shuffle
        if shuffled:
            loaded["train"] = loaded["train"].shuffle(seed=seed, keep_in_memory=True)  # otherwise in a file beside the user's data
        columns = [mapping_column_name] if isinstance(mapping_column_name, str) else list(mapping_column_name or ("text",))
        given = named_tokenizer(this, "gpt2" if tokenizer is None else tokenizer)
        if mapping_fn is None and getattr(given, "is_fast", False) is not True and callable(given):
            mapping_fn = tokenize_documents
        cache = NewCache(
            folder=cache_dir,
            tokenizer=given,
            columns=columns,
            append_eos=use_eos_token,
            validation_part=part,
            is_shared=use_shared_memory,
        )
        if mapping_fn is None:
            source = {"dataset": str(dataset_path or disk_file_path), "name": dataset_name, "revision": revision, "columns": columns}
            cache.tokenize(loaded, {**source, "shuffle": seed if shuffled else None})
        else:
            cache.map(loaded, mapping_fn, mapping_fn_kwargs or {}, num_workers=num_workers)
        logger.info("Saving tokenized dataset: %s", cache_dir)
        return cls.from_cache(cache_dir, seed=seed, **kwargs)

    def get_train_dataset(self) -> LMDataset | None:
        """Return the windows of the training array, or None if there is none."""
        return self._dataset(self._train) if self._train is not None else None

    def get_val_dataset(self) -> LMDataset | None:
        """Return the windows of the validation array, or None if there is none."""
        return self._dataset(self._validation) if self._validation is not None else None

    def get_tokenizer(self) -> Any:
        """Return the tokenizer of the ids, or None if neither the cache nor an existing `tokenizer_file` has one.

        Raises
        ------
        StoreError
            The cache has only a pickle, and pickles are not allowed; or the tokenizer cannot be loaded.
        """
        file = self._config.tokenizer_file
        if file is not None:
            path = Path(file).expanduser()
            return load_tokenizer(path, allow_pickle=self._allow_pickle or path.is_file()) if path.exists() else None
        cache = self._config.cache_dir
        folder = cache if cache is None or cache.is_dir() else cache.parent
        return load_tokenizer(folder, allow_pickle=self._allow_pickle) if folder is not None and carries_tokenizer(folder) else None

    def _dataset(self, tokens: TokenFile) -> LMDataset:
        config = self._config
        return LMDataset(
            tokens.ids,
            labels=tokens.labels,
            seq_len=config.seq_len,
            shift_labels=config.shift_labels,
            ignore_token_id=config.ignore_token_id,
            random_mask_prob=config.random_mask_prob,
            random_mask_offset=self._offset(tokens),
            seed=config.seed,
        )
