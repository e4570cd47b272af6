"""A block of samples that a loader worker sends to the training process."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phyagi_assets.reading.mixture_samples import ReadSamples


@dataclass(frozen=True, slots=True)
class SentSamples:
    """A block of samples to send, which arrives as `ReadSamples`.

    The large arrays are put in shared memory, as tensors, because torch shares only tensors.
    """

    samples: ReadSamples

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {name: getattr(self.samples, name) for name in ReadSamples.__slots__}
        large = {name: fields.pop(name) for name in ("tokens", "starts", "trained") if fields[name] is not None}
        return _received, (fields, {name: (torch.from_numpy(array.view(np.uint8)), array.dtype) for name, array in large.items()})


def _received(fields: dict[str, Any], large: dict[str, tuple[torch.Tensor, np.dtype[Any]]]) -> ReadSamples:
    return ReadSamples(**fields, **{name: octets.numpy().view(dtype) for name, (octets, dtype) in large.items()})
