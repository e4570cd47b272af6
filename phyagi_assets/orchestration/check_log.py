"""Results of the checks of a run's partitions, as events in Dagster's log or as records without events."""

import time
from collections.abc import Collection, Mapping

import dagster as dg

from phyagi_assets.build.outcome import PartitionResult
from phyagi_assets.formatting import counted
from phyagi_assets.orchestration.check_records import PartitionCheck, insert_passed, latest_evaluation
from phyagi_assets.orchestration.run_context import Context, step_key
from phyagi_assets.steps.flow import Flow

_INSERTED = 100
"""Number of passed checks that are recorded in one statement; they are lost if the process is killed before."""
_SECONDS = 5.0
"""Time after which fewer of them are recorded, too, so that the checks of a slow partition are shown soon."""


class CheckLog:
    """A log of the checks of a run's partitions.

    Parameters
    ----------
    expected
        Names of the steps, by corpus, for which Dagster expects every result of every check.
    is_long
        Whether the run builds so many partitions that it does not log an event for each passed check.
    """

    def __init__(self, context: Context, flow: Flow, expected: Mapping[str, Collection[str]], *, is_long: bool) -> None:
        self._context, self._flow, self._expected, self._is_long = context, flow, expected, is_long
        self._passed: dict[dg.AssetCheckKey, int] = {}
        self._not_inserted: list[PartitionCheck] = []
        self._flushed = time.monotonic()

    def write(self, asset: dg.AssetKey, partition: str, result: dg.AssetCheckResult) -> None:
        """Log the result of a check of one partition of an asset."""
        key, (corpus, step) = dg.AssetCheckKey(asset, str(result.check_name)), asset.path
        check = PartitionCheck(key=key, partition=partition, result=result)
        if not result.passed or (step in self._expected.get(corpus, ()) and not self._is_long):
            self._log(latest_evaluation(self._context.instance, check))
        else:
            self._passed[key] = self._passed.get(key, 0) + 1
            self._not_inserted.append(check)

    def write_unmade(self, result: PartitionResult) -> None:
        """Log as failed the checks that a failed partition did not reach, so that the UI shows the reason."""
        work, made = result.work, {done.step for done in result.done}
        for step in work.steps:
            if step not in made and step in self._expected.get(work.corpus, ()):
                for check in self._flow[step].checks:
                    unmade = dg.AssetCheckResult(check_name=check, passed=False, description=f"Not built: {result.failure}")
                    self.write(dg.AssetKey([work.corpus, step]), work.key, unmade)

    def flush_if_due(self) -> None:
        """Record the passed checks if there are many, or some time has passed."""
        if len(self._not_inserted) >= _INSERTED or time.monotonic() - self._flushed >= _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Record the passed checks that are not recorded yet."""
        results, self._not_inserted, self._flushed = self._not_inserted, [], time.monotonic()
        if results:
            insert_passed(self._context.instance, self._context.run, step_key(self._context), results)

    def close(self) -> None:
        """Log one event per check for all of its results that were recorded without one."""
        self.flush()
        for key, passed in self._passed.items():
            self._log(
                dg.AssetCheckEvaluation(
                    asset_key=key.asset_key,
                    check_name=key.name,
                    passed=True,
                    metadata={"partitions": passed},
                    description=f"{counted(passed, 'partition')} passed",
                )
            )

    def _log(self, evaluation: dg.AssetCheckEvaluation) -> None:
        self._context.log_event(evaluation)  # type: ignore[arg-type]  # logged like any other event, though it is not declared
