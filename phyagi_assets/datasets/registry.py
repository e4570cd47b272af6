"""Datasets, providers and collators by name, for the configuration of a training script.

>>> get_data_collator("lm", ignore_token_ids=[5]).ignore_token_ids
[5]
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from typing import Any

from phyagi_assets.datasets.concat_dataset import (
    SequentialWeightedConcatDataset,
    WeightedConcatChatDataset,
    WeightedConcatDataset,
    WeightedConcatIterableDataset,
)
from phyagi_assets.datasets.dataset_provider import DatasetProviderConfig
from phyagi_assets.datasets.names import named
from phyagi_assets.datasets.rl.chat import ChatDatasetProvider, ChatDatasetProviderConfig
from phyagi_assets.datasets.sharding import SharedStream
from phyagi_assets.datasets.train.lm.lm_dataset_provider import LMDatasetProvider
from phyagi_assets.datasets.train.stream_lm import StreamLMDatasetProvider, StreamLMDatasetProviderConfig
from phyagi_assets.datasets.train.train_data_collator import LMDataCollator
from phyagi_assets.reading.numbers import exact_decimal

__all__ = ["get_data_collator", "get_dataset", "get_dataset_provider"]

ProviderConfig = DatasetProviderConfig | StreamLMDatasetProviderConfig | ChatDatasetProviderConfig
Provider = LMDatasetProvider | StreamLMDatasetProvider | ChatDatasetProvider
Config = ProviderConfig | Mapping[str, Any]

_PROVIDERS: dict[str, tuple[type[Provider], type[ProviderConfig]]] = {
    "lm": (LMDatasetProvider, DatasetProviderConfig),
    "stream_lm": (StreamLMDatasetProvider, StreamLMDatasetProviderConfig),
    "chat": (ChatDatasetProvider, ChatDatasetProviderConfig),
}
_CONCATS: dict[str, type[WeightedConcatDataset | WeightedConcatIterableDataset]] = {
    "random": WeightedConcatDataset,
    "random_iterable": WeightedConcatIterableDataset,
    "sequential": SequentialWeightedConcatDataset,
    "random_chat": WeightedConcatChatDataset,
}
_SEED = 42
"""Seed of the concatenation if the first configuration has none."""
_COLLATORS = {"lm": LMDataCollator}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """One configuration and the provider of its datasets."""

    config: ProviderConfig
    provider: Provider


def get_dataset(
    dataset_configs: Config | Iterable[Config],
    dataset_concat: str = "random",
    eval_dataset_concat: str | None = None,
    dataset_provider: str = "lm",
    dataset_global_weight: float = 1.0,
    *,
    seed: int | None = None,
    random_mask_offset: int | None = None,
) -> tuple[Any, dict[str, Any] | None]:
    """Create the training dataset and the evaluation datasets of one or more configurations.

    Parameters
    ----------
    dataset_configs
        One configuration, or several, as objects or mappings. They are not modified. A mapping may have its own ``dataset_provider``.
    dataset_concat
        How training datasets are concatenated: ``random`` (`WeightedConcatDataset`), ``sequential``
        (`SequentialWeightedConcatDataset`), ``random_chat`` (`WeightedConcatChatDataset` with the labels of the configurations), or
        ``random_iterable`` (`WeightedConcatIterableDataset`, one epoch per iteration; ``transformers.Trainer`` divides it among processes
        itself, so call ``set_rank_and_world_size(0, 1)``).
    eval_dataset_concat
        How evaluation datasets of one label are concatenated; weights do not apply. With None, the only dataset of a label is returned
        unchanged, and several datasets of one label are concatenated in order.
    dataset_provider
        ``lm``, ``stream_lm`` or ``chat``; only ``random_iterable`` can concatenate datasets of ``stream_lm``.
    dataset_global_weight
        Factor on every weight.
    seed
        Seed of the concatenation; None for the seed of the first configuration, or 42 if it has none.
    random_mask_offset
        Mark of tokens for configurations with a `random_mask_prob`; see `LMDatasetProvider`.

    Returns
    -------
    dataset
        The training dataset. Its samples carry ``dataset_idx``, the index of their configuration among those with a training dataset, and
        ``idx``, their index in its dataset. A single ``stream_lm`` of weight 1 is returned unchanged. None if no configuration has a
        training dataset.
    evaluation
        The evaluation datasets by label, or by the index of the configuration (``"0"``, ``"1"``) if it has no label; None if there are
        none.

    Raises
    ------
    FileNotFoundError
        A cache does not exist.
    TypeError
        A configuration is not an object or a mapping.
    ValueError
        A name is unknown, there is no configuration or no dataset, a factor is negative, the training datasets have no sample, or two
        caches have different tokenizers.
    StoreError
        A file is not a token array, or does not match its manifest.

    Examples
    --------
    >>> import numpy as np
    >>> np.save("tokens.npy", np.arange(9, dtype=np.uint16))
    >>> half = {"train_file": "tokens.npy", "seq_len": 2, "weight": 0.5}
    >>> dataset, evaluation = get_dataset([half, half])
    >>> len(dataset), evaluation
    (4, None)
    """
    concat = named("dataset_concat", _CONCATS, dataset_concat)
    eval_concat = named("eval_dataset_concat", _CONCATS, eval_dataset_concat) if eval_dataset_concat is not None else None
    given = _listed(dataset_configs)
    if not given:
        raise ValueError("dataset_configs: is empty; name at least one dataset")
    if not 0 <= dataset_global_weight < math.inf:
        raise ValueError(f"dataset_global_weight: is {dataset_global_weight}; use 0 or more")
    logger.info("Loading datasets...")
    settled = [_config(config, dataset_provider) for config in given]
    logger.info("Datasets: %s", [config for _, config in settled])
    sources = [_Source(config=config, provider=_provider(name, config, random_mask_offset)) for name, config in settled]
    _require_one_tokenizer(sources)
    seed = getattr(sources[0].config, "seed", _SEED) if seed is None else seed
    train = _train(sources, concat, exact_decimal(dataset_global_weight), seed)
    evaluation = _evaluation(sources, eval_concat, seed)
    if train is None and not evaluation:
        raise ValueError("dataset_configs: none of their arrays exists; give a train_file, a validation_file or a cache_dir")
    return train, evaluation or None


def _listed(configs: Config | Iterable[Config]) -> list[Config]:
    given = [configs] if isinstance(configs, ProviderConfig | Mapping | str) or not isinstance(configs, Iterable) else list(configs)
    for config in given:
        if not isinstance(config, ProviderConfig | Mapping):
            raise TypeError(f"dataset_configs: {config!r} is not a configuration; give an object or a mapping, as in {{'cache_dir': PATH}}")
    return given


def _train(sources: Sequence[_Source], concat: Any, factor: Fraction, seed: int) -> Any:
    training = [(source, source.provider.get_train_dataset()) for source in sources]
    present = [(source, dataset) for source, dataset in training if dataset is not None]
    if not present:
        return None
    for number, (source, dataset) in enumerate(present):
        _has_samples(dataset, f"training dataset {getattr(source.config, 'train_file', None) or number}", source.config)
    datasets, weights = [dataset for _, dataset in present], [exact_decimal(source.provider.weight) * factor for source, _ in present]
    labels = [source.provider.label or str(sources.index(source)) for source, _ in present]
    train = _concatenated("dataset_concat", concat, datasets, weights, labels, seed)
    if not len(train):
        raise ValueError("dataset_configs: their training datasets have no sample; lower seq_len, or raise the weights")
    return train


def _evaluation(sources: Sequence[_Source], concat: Any, seed: int) -> dict[str, Any]:
    by_label: dict[str, list[Any]] = {}
    for number, source in enumerate(sources):
        label = source.provider.label or str(number)
        validation = source.provider.get_val_dataset()
        if validation is not None and _has_samples(validation, f"evaluation dataset {label!r}", source.config):
            by_label.setdefault(label, []).append(validation)
    return {label: _evaluation_dataset(concat, label, datasets, seed) for label, datasets in by_label.items()}


def _evaluation_dataset(concat: Any, label: str, datasets: list[Any], seed: int) -> Any:
    if concat is None:
        if len(datasets) == 1:
            return datasets[0]
        has_streams = any(isinstance(dataset, SharedStream) for dataset in datasets)
        concat = WeightedConcatIterableDataset if has_streams else SequentialWeightedConcatDataset
    return _concatenated("eval_dataset_concat", concat, datasets, [Fraction(1)] * len(datasets), [label] * len(datasets), seed)


def get_dataset_provider(name: str) -> type[Provider]:
    """Return the class of a provider.

    Parameters
    ----------
    name
        ``lm``, ``stream_lm`` or ``chat``.

    Returns
    -------
    type
        The class of the provider.

    Raises
    ------
    ValueError
        The name is unknown.

    Examples
    --------
    >>> get_dataset_provider("lm").__name__
    'LMDatasetProvider'
    """
    return named("dataset_provider", _PROVIDERS, name)[0]


def get_data_collator(data_collator_type: str = "lm", **kwargs: Any) -> LMDataCollator:
    """Create a data collator.

    Parameters
    ----------
    data_collator_type
        ``lm``.
    **kwargs
        Arguments of the collator.

    Returns
    -------
    LMDataCollator
        The collator.

    Raises
    ------
    ValueError
        The name is unknown.

    Examples
    --------
    >>> get_data_collator("lm", ignore_index=-1).ignore_index
    -1
    """
    return named("data_collator_type", _COLLATORS, data_collator_type)(**kwargs)


def _config(config: Config, default: str) -> tuple[str, ProviderConfig]:
    """Return the name of a configuration's provider, and the configuration as an object of the provider's type."""
    fields = dict(config) if isinstance(config, Mapping) else config.to_dict()
    name = fields.pop("dataset_provider", None) or default
    config_class = named("dataset_provider", _PROVIDERS, name)[1]
    if isinstance(config, config_class):
        return name, config
    if isinstance(config, StreamLMDatasetProviderConfig):
        fields = {name: value for name, value in config.of_windows().to_dict().items() if name != "cache_dir"}
    return name, config_class.from_dict(fields)


def _provider(name: str, config: ProviderConfig, random_mask_offset: int | None) -> Any:
    make: Any = get_dataset_provider(name).from_config
    return make(config) if name == "chat" else make(config, random_mask_offset=random_mask_offset)


def _concatenated(name: str, concat: Any, datasets: list[Any], weights: list[Fraction], labels: list[str], seed: int) -> Any:
    streams = [dataset for dataset in datasets if isinstance(dataset, SharedStream)]
    if len(streams) == 1 and weights == [1]:
        return streams[0]
    if streams and concat is not WeightedConcatIterableDataset:
        raise ValueError(f"{name}: only 'random_iterable' can concatenate streams")
    if concat is WeightedConcatChatDataset:
        return concat(datasets, weights, labels, seed=seed)
    return concat(datasets, weights, seed=seed, **({"endless": False} if concat is WeightedConcatIterableDataset else {}))


def _has_samples(dataset: Any, name: str, config: ProviderConfig) -> bool:
    if not len(dataset):
        length = f" of {config.seq_len} tokens" if hasattr(config, "seq_len") else ""
        logger.warning("%s has no sample%s; continuing without it", name, length)
    return len(dataset) > 0


def _require_one_tokenizer(sources: Sequence[_Source]) -> None:
    """Raise an error if caches record different tokenizers."""
    vocabularies = [source.provider.vocabulary for source in sources if source.provider.vocabulary]
    distinct = {
        (vocabulary.size, vocabulary.max_id, vocabulary.eos_token_id, vocabulary.checksum): vocabulary for vocabulary in vocabularies
    }
    for one, other in combinations(distinct.values(), 2):
        if not one.agrees(other):
            listed = ", ".join(
                f"{vocabulary.file.parent} ({vocabulary.size} tokens, EOS {vocabulary.eos_token_id})" for vocabulary in (one, other)
            )
            raise ValueError(f"dataset_configs: the caches have different tokenizers, {listed}; use caches of one tokenizer")
