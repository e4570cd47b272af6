"""Datasets of token windows: from a dataset of the Hub or of a folder, from a cache, from a configuration."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from phyagi_assets.datasets.cache_folder import TokenFile, load_tokenizer, open_tokens
from phyagi_assets.datasets.dataset_provider import DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.train.lm.lm_dataset import LMDataset
from phyagi_assets.datasets.train.lm.loading import load_splits, named_tokenizer
from phyagi_assets.datasets.train.lm.tokenizing import _tokenize_concatenated, map_into, tokenize_into
from phyagi_assets.datasets.vocabulary import Vocabulary

__all__ = ["LMDatasetProvider", "LMProviderConfig", "_tokenize_concatenated"]

LMProviderConfig = DatasetProviderConfig

logger = logging.getLogger(__name__)


class LMDatasetProvider(DatasetProvider):
    """Gives `LMDataset`\\ s over the token arrays that a configuration names.

    Parameters
    ----------
    config
        Where the arrays are, and how to read them.
    allow_pickle
        Whether `get_tokenizer` may load a ``tokenizer.pkl`` where there is no folder ``tokenizer/``: a pickle runs whatever it holds.
    random_mask_offset
        The mark that tokens carry where the configuration has a `random_mask_prob`; see `LMDataset`.

    Raises
    ------
    StoreError
        A file is no token array, or not the one that its manifest describes.
    ValueError
        Tokens would carry marks (`random_mask_prob`), and the tokenizer has ids that cannot be told from marked ones.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> provider = LMDatasetProvider(DatasetProviderConfig(train_file="tokens.npy", seq_len=4))
    >>> provider.get_train_dataset()[1]["input_ids"]
    tensor([4, 5, 6, 7])
    """

    def __init__(self, config: DatasetProviderConfig, *, allow_pickle: bool = False, random_mask_offset: int = 32768) -> None:
        self._config = config
        self._allow_pickle = allow_pickle
        self._random_mask_offset = random_mask_offset
        train = open_tokens(config.train_file) if config.train_file else None
        validation = open_tokens(config.validation_file) if config.validation_file else None
        if validation is None and train is not None and config.validation_split is not None:
            train, validation = train.divided(config.validation_split)
        self._train, self._validation = train, validation
        if config.random_mask_prob is not None:
            self._refuse_collision()

    def _refuse_collision(self) -> None:
        offset = self._random_mask_offset
        for tokens in filter(None, (self._train, self._validation)):
            if tokens.vocabulary is not None and tokens.vocabulary.max_id >= offset:
                raise ValueError(
                    f"random_mask_offset: is {offset}, and the tokenizer has ids up to {tokens.vocabulary.max_id}; "
                    "an id at or above the mark cannot be told from a marked one"
                )

    @classmethod
    def from_config(cls, config: DatasetProviderConfig, *, allow_pickle: bool = False, random_mask_offset: int = 32768) -> Self:
        """Make a provider of a configuration, which is left as it is."""
        return cls(config, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_cache(cls, cache_dir: str | Path, *, allow_pickle: bool = False, random_mask_offset: int = 32768, **config: Any) -> Self:
        """Make a provider of a cache folder; `config` are the other fields of the configuration."""
        fields = DatasetProviderConfig.from_dict({"cache_dir": Path(cache_dir), **config})
        return cls(fields, allow_pickle=allow_pickle, random_mask_offset=random_mask_offset)

    @classmethod
    def from_hub(
        cls,
        dataset_path: str | None = None,
        dataset_name: str | None = None,
        disk_file_path: str | Path | None = None,
        data_dir: str | None = None,
        data_files: str | Sequence[str] | Mapping[str, Any] | None = None,
        revision: str | None = None,
        tokenizer: Any = "gpt2",
        mapping_fn: Callable[..., Any] | None = None,
        mapping_fn_kwargs: Mapping[str, Any] | None = None,
        mapping_column_name: str | Sequence[str] = "text",
        validation_split: float | int | None = None,
        shuffle: bool = True,
        seed: int = 42,
        num_workers: int = 1,
        use_eos_token: bool = True,
        use_shared_memory: bool = True,
        cache_dir: str | Path = "cache",
        raw_dir: str | Path | None = None,
        **config: Any,
    ) -> Self:
        """Load a dataset, tokenize it into a cache, and make a provider of that.

        Parameters
        ----------
        dataset_path, dataset_name, data_dir, data_files, revision
            As ``datasets.load_dataset`` takes them.
        disk_file_path
            A folder of ``save_to_disk``, in place of a dataset of the Hub.
        tokenizer
            A fast tokenizer, or the name of one.
        mapping_fn, mapping_fn_kwargs
            A function for ``dataset.map``, in batches, in place of the pipeline's tokenizing; it gives ``input_ids`` and, if it likes,
            ``labels``. What its signature names of `tokenizer`, `mapping_column_name`, `use_eos_token` and `dtype` is given to it.
        mapping_column_name
            The columns that hold the text.
        validation_split
            Part of the training tokens to validate on where the dataset has no validation split, in whole documents: a fraction below 1,
            or a number of tokens.
        shuffle, seed
            Whether and how documents are shuffled before that part is taken.
        num_workers
            Processes that `mapping_fn` runs in; the pipeline's tokenizing uses every core as it is.
        use_eos_token
            Whether the tokenizer's EOS follows every non-empty document.
        use_shared_memory
            Taken for the reference library's sake; arrays are written to disk as they come, and none is held in memory.
        cache_dir
            The cache; what was in it is replaced.
        raw_dir
            Where ``datasets`` keeps what it downloads.
        **config
            Other fields of the configuration, such as `seq_len`.

        Raises
        ------
        ValueError
            Neither a dataset nor a folder is named, or a number is out of its range.
        SourceError
            There is no training split, a column is not there or holds no text, or a split has no text.
        TokenizerError
            The tokenizer cannot be loaded, is no fast one, or has no EOS where one is wanted.
        """
        DatasetProviderConfig.from_dict({"validation_split": validation_split, "seed": seed, **config})  # better refused now than then
        logger.info("Loading non-tokenized dataset...")
        loaded = load_splits(dataset_path, dataset_name, disk_file_path, data_dir, data_files, revision, raw_dir)
        logger.info("Creating validation split (if necessary)...")
        part = validation_split if "validation" not in loaded else None
        shuffled = part is not None and shuffle
        if shuffled:
            loaded["train"] = loaded["train"].shuffle(seed=seed, keep_in_memory=True)  # else the order would lie beside the user's data
        columns = [mapping_column_name] if isinstance(mapping_column_name, str) else list(mapping_column_name)
        given = named_tokenizer(tokenizer)
        if mapping_fn is None:
            source = {"dataset": str(dataset_path or disk_file_path), "name": dataset_name, "revision": revision, "columns": columns}
            tokenize_into(
                Path(cache_dir),
                loaded,
                given,
                columns,
                append_eos=use_eos_token,
                validation_part=part,
                source={**source, "shuffle": seed if shuffled else None},
                shared=use_shared_memory,
            )
        else:
            map_into(
                Path(cache_dir),
                loaded,
                given,
                columns,
                mapping_fn,
                mapping_fn_kwargs or {},
                append_eos=use_eos_token,
                validation_part=part,
                num_workers=num_workers,
                shared=use_shared_memory,
            )
        logger.info("Saving tokenized dataset: %s", cache_dir)
        return cls.from_cache(cache_dir, seed=seed, **config)

    def get_train_dataset(self) -> LMDataset:
        """The windows of the training array.

        Raises
        ------
        ValueError
            The configuration names none that is there.
        """
        if self._train is None:
            raise ValueError("train_file: there is no training array; name one, or the cache_dir that holds train.npy")
        return self._dataset(self._train)

    def get_val_dataset(self) -> LMDataset | None:
        """The windows of the validation array; None where there is none."""
        return self._dataset(self._validation) if self._validation is not None else None

    def get_tokenizer(self) -> Any:
        """The tokenizer that the cache carries.

        Raises
        ------
        StoreError
            There is none, or only a pickle, which was not allowed.
        """
        folder = self._config.tokenizer_file or self._config.cache_dir
        if folder is None:
            raise ValueError("tokenizer_file: is not given, and neither is a cache_dir that carries a tokenizer")
        return load_tokenizer(folder, allow_pickle=self._allow_pickle)

    @property
    def vocabulary(self) -> Vocabulary | None:
        """What the ids stand for; None where the cache does not tell."""
        return next((tokens.vocabulary for tokens in (self._train, self._validation) if tokens and tokens.vocabulary), None)

    @property
    def weight(self) -> float:
        """Factor on the number of samples where several datasets are put together."""
        return self._config.weight

    @property
    def label(self) -> str:
        """Name of the evaluation dataset."""
        return self._config.label

    def _dataset(self, tokens: TokenFile) -> LMDataset:
        config = self._config
        return LMDataset(
            tokens.ids,
            labels=tokens.labels,
            seq_len=config.seq_len,
            shift_labels=config.shift_labels,
            ignore_token_id=config.ignore_token_id,
            random_mask_prob=config.random_mask_prob,
            random_mask_offset=self._random_mask_offset,
            seed=config.seed,
        )
