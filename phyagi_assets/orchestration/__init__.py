"""Dagster: declarations → assets, checks, partitions, sensors, schedules and runs."""
