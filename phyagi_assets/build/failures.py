"""Records of the last failures, so that a command can show them without opening Dagster's instance."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from phyagi_assets.store.base import Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """The last failure of a partition or mixture."""

    reason: str
    at: str
    """Time of the failure in UTC, in the format of ISO 8601."""
    lasts: bool = False
    """Whether the failure persists until an input changes."""


class Failures:
    """The last failures of the partitions and mixtures of a store; if a record is lost, its failure is not shown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, name: str, reason: str, *, lasts: bool = False) -> None:
        """Record the failure of a partition (``corpus/partition``) or of a mixture; without a reason, forget the last one."""
        state = self._store.state("failures", name)
        if reason:
            state.remember({"reason": reason, "at": datetime.now(UTC).isoformat(timespec="seconds"), "lasts": lasts})
        else:
            state.forget()

    def last(self, name: str) -> Failure | None:
        """Return the last failure of a partition or mixture, or None if it was built since then, or never failed."""
        with suppress(TypeError, KeyError):
            recorded = self._store.state("failures", name).recall()
            return Failure(reason=str(recorded["reason"]), at=str(recorded["at"]), lasts=bool(recorded.get("lasts")))
        return None
