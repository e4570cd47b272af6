"""Samples as they were read, on their way to becoming tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phyagi_assets.order.permutation import Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSamples:
    """Samples as they are in the token arrays.

    Sent to another process, the ids go in shared memory, which torch does for tensors alone.
    """

    positions: Ints
    corpora: Ints
    """Index of the corpus of each sample in the plan."""
    tokens: npt.NDArray[Any]
    """Token ids, of shape (samples, seq_len), or one longer where the next token is wanted."""
    starts: npt.NDArray[np.bool_] | None
    """Where documents begin, of the same shape; None where it is not wanted."""
    filled: Ints | None = None
    """Tokens of each sample before its padding; None where no sample is padded."""

    def __reduce__(self) -> tuple[Any, ...]:
        starts = None if self.starts is None else torch.from_numpy(self.starts)
        tokens = torch.from_numpy(self.tokens.view(np.uint8))
        return _received, (self.positions, self.corpora, tokens, self.tokens.dtype, starts, self.filled)


def _received(
    positions: Ints, corpora: Ints, octets: torch.Tensor, dtype: np.dtype[Any], starts: torch.Tensor | None, filled: Ints | None
) -> ReadSamples:
    tokens = octets.numpy().view(dtype)
    begun = None if starts is None else starts.numpy()
    return ReadSamples(positions=positions, corpora=corpora, tokens=tokens, starts=begun, filled=filled)
