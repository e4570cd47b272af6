"""Conditions under which Dagster builds assets after a change upstream, and policies for assets that are too old."""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.intervals import parse_span
from phyagi_assets.orchestration.declared import declared_tag
from phyagi_assets.orchestration.names import BUILDS_ALL_TAG, FOLLOW_CHANGES


def follow_sensor(corpora: Iterable[Corpus]) -> dg.AutomationConditionSensorDefinition:
    """Return the sensor that builds the steps of corpora downstream of a change."""
    return dg.AutomationConditionSensorDefinition(
        FOLLOW_CHANGES,
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags=declared_tag(corpora),
        description="Builds the steps of a corpus downstream of changed content. A file that was only touched causes no build.",
    )


def follow_condition(*, in_partitions: bool = False) -> Any:
    """Return the condition that builds an asset when upstream data versions change.

    An asset is built once per change. A run that was cancelled or failed is not repeated, even if it should have built the asset itself.
    So, in contrast to ``AutomationCondition.eager()``, a missing asset alone is not built.
    """
    condition = dg.AutomationCondition
    built_with_the_rest: Any = condition.executed_with_root_target()
    if in_partitions:  # these runs record the steps right after the change, or fail; the condition above sees only one partition
        built_with_the_rest |= condition.all_new_updates_have_run_tags(tag_values=BUILDS_ALL_TAG)
    changed = (condition.data_version_changed() & ~built_with_the_rest).with_label("content changed by a run without this asset")
    upstream = condition.any_deps_match(changed | condition.will_be_requested()).with_label("something upstream changed")
    due = upstream.since_last_handled().with_label("something upstream changed since this asset was last requested or built")
    due &= (~condition.any_deps_missing()).with_label("all upstream assets are built")
    return (
        due
        & (~condition.any_deps_in_progress()).with_label("nothing upstream is being built")
        & (~condition.in_progress()).with_label("this asset is not being built")
    ).with_label("follow changes")


def freshness_policy(within: str | None) -> dg.FreshnessPolicy | None:
    """Return a policy that fails if an asset was not materialized for the time span `within`; None without a time span."""
    return dg.FreshnessPolicy.time_window(fail_window=parse_span(within)) if within else None
