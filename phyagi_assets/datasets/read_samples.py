"""A block of samples that was read from token arrays, before conversion to tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phyagi_assets.order.permutation import Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSamples:
    """A block of samples, with the ids in the dtype of the token arrays.

    To send a block to another process, the ids are put in shared memory, as tensors, because torch shares only tensors.
    """

    positions: Ints
    """Position of each sample, 1-D."""
    corpora: Ints
    """Index in the plan of the corpus of each sample, 1-D."""
    tokens: npt.NDArray[Any]
    """Token ids, of shape (samples, seq_len), or (samples, seq_len + 1) for shifted labels."""
    starts: npt.NDArray[np.bool_] | None
    """Whether a document begins at each token, of the same shape as `tokens`; None if not requested."""
    filled: Ints | None = None
    """Number of tokens of each sample before its padding, 1-D; None if no sample is padded."""
    trained: npt.NDArray[np.bool_] | None = None
    """Whether each token is trained on, of the same shape as `tokens`; None if all are."""

    def __reduce__(self) -> tuple[Any, ...]:
        starts, trained = (None if mask is None else torch.from_numpy(mask) for mask in (self.starts, self.trained))
        tokens = torch.from_numpy(self.tokens.view(np.uint8))
        return _received, (self.positions, self.corpora, tokens, self.tokens.dtype, starts, self.filled, trained)


def _received(
    positions: Ints,
    corpora: Ints,
    octets: torch.Tensor,
    dtype: np.dtype[Any],
    starts: torch.Tensor | None,
    filled: Ints | None,
    trained: torch.Tensor | None,
) -> ReadSamples:
    tokens = octets.numpy().view(dtype)
    begun, on = (None if mask is None else mask.numpy() for mask in (starts, trained))
    return ReadSamples(positions=positions, corpora=corpora, tokens=tokens, starts=begun, filled=filled, trained=on)
