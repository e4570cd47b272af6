"""Integration with Dagster: assets, checks, partitions, sensors, schedules and runs, derived from the declarations."""
