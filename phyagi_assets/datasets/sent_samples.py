"""A block of samples that a loader worker sends to the training process."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phyagi_assets.order.permutation import Ints
from phyagi_assets.reading.mixture_samples import ReadSamples


@dataclass(frozen=True, slots=True)
class SentSamples:
    """A block of samples to send, which arrives as `ReadSamples`.

    The ids are put in shared memory, as tensors, because torch shares only tensors.
    """

    samples: ReadSamples

    def __reduce__(self) -> tuple[Any, ...]:
        block = self.samples
        starts, trained = (None if array is None else torch.from_numpy(array) for array in (block.starts, block.trained))
        tokens = torch.from_numpy(block.tokens.view(np.uint8))
        return _received, (block.positions, block.corpora, tokens, block.tokens.dtype, starts, block.filled, trained, block.packed)


def _received(
    positions: Ints,
    corpora: Ints,
    octets: torch.Tensor,
    dtype: np.dtype[Any],
    starts: torch.Tensor | None,
    filled: Ints | None,
    trained: torch.Tensor | None,
    packed: npt.NDArray[np.bool_] | None,
) -> ReadSamples:
    tokens = octets.numpy().view(dtype)
    begun, on = (None if array is None else array.numpy() for array in (starts, trained))
    return ReadSamples(positions=positions, corpora=corpora, tokens=tokens, starts=begun, filled=filled, trained=on, packed=packed)
