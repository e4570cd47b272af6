"""Outages of a server: consecutive requests that it does not answer."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from phyagi_assets.objects.retries import RetryPolicy, TransientError

_OUTDATED = 600.0
"""Time without requests after which an earlier unanswered request no longer counts as an outage, in seconds."""


class Outage:
    """The requests to one server that were not answered since the last answer."""

    def __init__(self) -> None:
        self.has_answered = False
        """Whether a request was granted."""
        self._unanswered: tuple[float, float] | None = None
        """Times of the first and the latest of the requests; None if there are none."""

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note whether the request that is made within the context is answered."""
        try:
            yield
        except TransientError as problem:
            now, before = time.monotonic(), self._unanswered  # read once: other threads set it
            self._unanswered = (before[0] if before else now, now)
            problem.is_repeated = before is not None
            raise
        except Exception:
            self._unanswered = None  # a refusal is an answer
            raise
        self.has_answered, self._unanswered = True, None

    def shortened(self, policy: RetryPolicy) -> RetryPolicy:
        """Return a policy, with a single attempt if the server has not answered for long.

        Otherwise, in an outage that lasts, each of thousands of partitions would wait for all attempts before it fails.
        """
        now, (since, latest) = time.monotonic(), self._unanswered or (math.inf, math.inf)
        if now - latest > _OUTDATED:
            self._unanswered, since = None, math.inf
        return replace(policy, attempts=1) if now - since > policy.outage else policy
