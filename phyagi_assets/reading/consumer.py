"""The progress of whoever uses what is read ahead."""

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class Consumer:
    """The progress of the consumer of samples that a thread reads ahead. That thread counts what is read, the consumer what is used."""

    read: int = 0
    """Number of samples that were read."""
    used: int = 0
    """Number of samples that the consumer is done with."""
    seconds: float = 0.0
    """Time that the consumer took for these, without waiting for them, in seconds."""
