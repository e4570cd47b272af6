"""Attribute the runs of the command to the code location that the UI loads.

Dagster attributes a run to a code location only if the run was launched from there, and the timeline of the UI leaves out all others.
Therefore the command names the code location of the runs that it creates.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

CODE_LOCATION = "phyagi-assets"
"""Name of the code location, as ``workspace.yaml`` gives it."""


@contextmanager
def runs_of_code_location(instance: dg.DagsterInstance) -> Iterator[None]:
    """Record the runs that are created in this context as runs of the code location."""
    create = instance.create_run_for_job
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(CODE_LOCATION), SINGLETON_REPOSITORY_NAME)

    def create_run_for_job(job_def: dg.JobDefinition, **options: Any) -> dg.DagsterRun:
        return create(job_def=job_def, remote_job_origin=RemoteJobOrigin(repository, job_def.name), **options)

    vars(instance)["create_run_for_job"] = create_run_for_job
    try:
        yield
    finally:
        del vars(instance)["create_run_for_job"]
