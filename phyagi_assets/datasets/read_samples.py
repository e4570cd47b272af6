"""Samples as they were read, on their way to becoming tensors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from phyagi_assets.order.permutation import Ints


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadSamples:
    """Samples as they lie in the token arrays.

    Sent to another process, the ids go in shared memory, as torch does it for tensors alone.
    """

    positions: Ints
    corpora: Ints
    """Of each sample, the index of its corpus in the plan."""
    tokens: npt.NDArray[Any]
    """Of shape (samples, seq_len), or one longer where the next token is wanted."""
    starts: npt.NDArray[np.bool_] | None
    """Where documents begin, of the same shape; nothing where it was not asked for."""

    def __reduce__(self) -> tuple[Any, ...]:
        starts = None if self.starts is None else torch.from_numpy(self.starts)
        return _received, (self.positions, self.corpora, torch.from_numpy(self.tokens.view(np.uint8)), self.tokens.dtype, starts)


def _received(positions: Ints, corpora: Ints, octets: torch.Tensor, dtype: np.dtype[Any], starts: torch.Tensor | None) -> ReadSamples:
    tokens = octets.numpy().view(dtype)
    return ReadSamples(positions=positions, corpora=corpora, tokens=tokens, starts=None if starts is None else starts.numpy())
