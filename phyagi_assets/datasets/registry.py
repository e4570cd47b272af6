"""Datasets, providers and collators by name: what a training script's configuration says.

>>> get_data_collator("lm", ignore_token_ids=[5]).ignore_token_ids
[5]
"""

import logging
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import combinations
from typing import Any, TypeVar

from phyagi_assets.datasets.concat_dataset import (
    SequentialWeightedConcatDataset,
    WeightedConcatDataset,
    WeightedConcatIterableDataset,
)
from phyagi_assets.datasets.configuration import load_config
from phyagi_assets.datasets.dataset_provider import DatasetProvider, DatasetProviderConfig
from phyagi_assets.datasets.train.lm.lm_dataset_provider import LMDatasetProvider
from phyagi_assets.datasets.train.stream_lm import StreamLMDataset, StreamLMDatasetProvider, StreamLMDatasetProviderConfig
from phyagi_assets.datasets.train.train_data_collator import LMDataCollator

__all__ = ["get_data_collator", "get_dataset", "get_dataset_provider", "load_config"]

Config = DatasetProviderConfig | Mapping[str, Any]
Registered = TypeVar("Registered")

_PROVIDERS: dict[str, tuple[type[LMDatasetProvider | StreamLMDatasetProvider], type[DatasetProviderConfig]]] = {
    "lm": (LMDatasetProvider, DatasetProviderConfig),
    "stream_lm": (StreamLMDatasetProvider, StreamLMDatasetProviderConfig),
}
_CONCATS: dict[str, type[WeightedConcatDataset | WeightedConcatIterableDataset]] = {
    "random": WeightedConcatDataset,
    "random_iterable": WeightedConcatIterableDataset,
    "sequential": SequentialWeightedConcatDataset,
}
_COLLATORS = {"lm": LMDataCollator}

logger = logging.getLogger(__name__)


def get_dataset(
    configs: Config | Sequence[Config],
    dataset_concat: str = "random",
    eval_dataset_concat: str = "sequential",
    dataset_provider: str = "lm",
    dataset_global_weight: float = 1.0,
    *,
    seed: int | None = None,
    random_mask_offset: int = 32768,
) -> tuple[Any, dict[str, Any] | None]:
    """Make the training dataset of several configurations, and the evaluation datasets.

    Parameters
    ----------
    configs
        A configuration, as an object or a mapping, or several. They are left as they are.
    dataset_concat
        How the training datasets are put together: ``random`` (`WeightedConcatDataset`), ``sequential``
        (`SequentialWeightedConcatDataset`), or ``random_iterable`` (`WeightedConcatIterableDataset`; several processes of a
        ``transformers.Trainer`` divide it by themselves, so tell it ``set_rank_and_world_size(0, 1)``).
    eval_dataset_concat
        How evaluation datasets of one label are put together, each whole.
    dataset_provider
        ``lm``, or ``stream_lm``, whose datasets go together by ``random_iterable`` alone.
    dataset_global_weight
        Factor on every weight.
    seed
        Of the concatenation; by default the first configuration's.
    random_mask_offset
        The mark that tokens carry where a configuration has a `random_mask_prob`; see `LMDataset`.

    Returns
    -------
    dataset
        Its samples carry ``dataset_idx``, the index of their configuration, and ``idx``, their index in its dataset. A single
        ``stream_lm`` of weight 1 is given as it is.
    evaluation
        The evaluation datasets by label; None where there are none. In their samples, ``dataset_idx`` counts the datasets of the label.

    Raises
    ------
    ValueError
        A name is not known, there is no configuration, a factor is negative, the training datasets have no sample, or two are of
        different tokenizers.
    StoreError
        A file is no token array, or not the one that its manifest describes.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> half = {"train_file": "tokens.npy", "seq_len": 2, "weight": 0.5}
    >>> dataset, evaluation = get_dataset([half, half])
    >>> len(dataset), evaluation
    (4, None)
    """
    known_concat = _known("dataset_concat", _CONCATS, dataset_concat)
    known_eval_concat = _known("eval_dataset_concat", _CONCATS, eval_dataset_concat)
    given = [configs] if isinstance(configs, DatasetProviderConfig | Mapping) else list(configs)
    if not given:
        raise ValueError("configs: is empty; name at least one dataset")
    logger.info("Loading datasets...")
    settled = [_config(config, dataset_provider) for config in given]
    logger.info("Datasets: %s", settled)
    make = get_dataset_provider(dataset_provider).from_config
    providers = [make(config, random_mask_offset=random_mask_offset) for config in settled]
    _require_one_tokenizer(providers)
    seed = settled[0].seed if seed is None else seed
    if not 0 <= dataset_global_weight < math.inf:
        raise ValueError(f"dataset_global_weight: is {dataset_global_weight}, but a weight is 0 or more")
    weights = [Fraction(str(provider.weight)) * Fraction(str(dataset_global_weight)) for provider in providers]
    training = [provider.get_train_dataset() for provider in providers]
    for config, dataset in zip(settled, training, strict=True):
        _is_filled(dataset, f"training dataset {config.train_file}", config)
    train = _together("dataset_concat", known_concat, training, weights, seed)
    if not len(train):
        raise ValueError("configs: their training datasets have no sample; lower seq_len, or raise the weights")
    by_label: dict[str, list[Any]] = {}
    for config, provider in zip(settled, providers, strict=True):
        validation = provider.get_val_dataset()
        if validation is not None and _is_filled(validation, f"evaluation dataset {provider.label!r}", config):
            by_label.setdefault(provider.label, []).append(validation)
    evaluation = {
        label: _together("eval_dataset_concat", known_eval_concat, datasets, [Fraction(1)] * len(datasets), seed)
        for label, datasets in by_label.items()
    }
    return train, evaluation or None


def get_dataset_provider(name: str) -> type[LMDatasetProvider | StreamLMDatasetProvider]:
    """The class of a provider.

    Parameters
    ----------
    name
        ``lm`` or ``stream_lm``.

    Raises
    ------
    ValueError
        There is none of that name.

    Examples
    --------
    >>> get_dataset_provider("lm").__name__
    'LMDatasetProvider'
    """
    return _known("dataset_provider", _PROVIDERS, name)[0]


def get_data_collator(name: str = "lm", **arguments: Any) -> LMDataCollator:
    """Make a data collator.

    Parameters
    ----------
    name
        ``lm``.
    **arguments
        What the collator takes.

    Raises
    ------
    ValueError
        There is none of that name.

    Examples
    --------
    >>> get_data_collator("lm", ignore_index=-1).ignore_index
    -1
    """
    return _known("data_collator", _COLLATORS, name)(**arguments)


def _config(config: Config, provider: str) -> DatasetProviderConfig:
    wanted = _known("dataset_provider", _PROVIDERS, provider)[1]
    if isinstance(config, wanted):
        return config
    return wanted.from_dict(config.to_dict() if isinstance(config, DatasetProviderConfig) else config)


def _together(name: str, concat: Any, datasets: list[Any], weights: list[Fraction], seed: int) -> Any:
    streams = [dataset for dataset in datasets if isinstance(dataset, StreamLMDataset)]
    if len(streams) == 1 and weights == [1]:
        return streams[0]
    if streams and concat is not WeightedConcatIterableDataset:
        raise ValueError(f"{name}: streams are put together by 'random_iterable' alone")
    windows = [dataset.windows if isinstance(dataset, StreamLMDataset) else dataset for dataset in datasets]
    return concat(windows, weights, seed)


def _is_filled(dataset: Any, name: str, config: DatasetProviderConfig) -> bool:
    if not len(dataset):
        logger.warning("%s has no sample of %d tokens; going on without it", name, config.seq_len)
    return len(dataset) > 0


def _require_one_tokenizer(providers: Sequence[DatasetProvider]) -> None:
    """Caches that say what tokenizer they are of must say the same."""
    told = [provider.vocabulary for provider in providers if provider.vocabulary is not None]
    distinct = {(of.size, of.max_id, of.eos_token_id, of.checksum): of for of in told}
    for one, other in combinations(distinct.values(), 2):
        if not one.agrees(other):
            listed = ", ".join(f"{of.file.parent} ({of.size} tokens, EOS {of.eos_token_id})" for of in (one, other))
            raise ValueError(f"configs: their caches are of different tokenizers, {listed}; a model reads the ids of one")


def _known(what: str, known: Mapping[str, Registered], name: str) -> Registered:
    if name not in known:
        raise ValueError(f"{what}: {name!r} is not known; the known ones are: {', '.join(known)}")
    return known[name]
