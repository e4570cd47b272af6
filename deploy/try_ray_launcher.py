"""Try dagster-ray's RayRunLauncher: a run of a small corpus as a Ray job on a local cluster of two nodes.

In an environment of its own, with the versions of `constraints.txt`:

    pip install --constraint constraints.txt '.[ray]' dagster-ray==0.4.8 'ray[default]'
    python deploy/try_ray_launcher.py

Only the second node has processors and the resource that runs ask for, so the run is on another node than the head, and so are its tasks.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.launcher import WorkerStatus

from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer

_INSTANCE = """\
run_coordinator:  # launches at once; the default one queues runs for the daemon, which launches them in the same way
  module: dagster.core.run_coordinator
  class: DefaultRunCoordinator
run_launcher:
  module: dagster_ray
  class: RayRunLauncher
  config:
    ray:
      address: {address}
      resources: {{runs: 1}}
      env_vars: [DAGSTER_HOME, PHYAGI_ASSETS_DATA, PHYAGI_ASSETS_STORE]
telemetry: {{enabled: false}}
"""
_CORPUS = "{name: plays, source: {path: 'raw/*.txt'}, partition_by: file, tokenizer: tokenizers/bytes}\n"
_RUN = "{ops: {plays_build_stale__partitions: {config: {executor: ray}}}}\n"
_STEPS = ("raw_dataset", "tokenized_arrow", "numpy_cache")
_SECONDS = 600
"""Longest time to wait for the run, in seconds."""


def declare(data: Path) -> None:
    """Declare a corpus of two partitions."""
    for folder in ("raw", "corpora"):
        (data / folder).mkdir(parents=True)
    for name in ("one", "two"):
        (data / "raw" / f"{name}.txt").write_text("To be, or not to be.\n" * 1000, encoding="utf-8")
    save_byte_tokenizer(data / "tokenizers" / "bytes")
    (data / "corpora" / "plays.yaml").write_text(_CORPUS, encoding="utf-8")


@contextmanager
def cluster() -> Iterator[str]:
    """Run two nodes, and yield the address of the server of Ray jobs."""
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"num_cpus": 0, "include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
    running = Cluster(initialize_head=True, head_node_args=head)
    try:
        running.add_node(num_cpus=2, resources={"runs": 1})
        yield f"http://127.0.0.1:{port}"
    finally:
        running.shutdown()


def launch(folder: Path, environment: dict[str, str]) -> None:
    """Launch the job that builds what is stale, as the UI and the daemon do."""
    config = folder / "run.yaml"
    config.write_text(_RUN, encoding="utf-8")
    location = ["--module-name", "phyagi_assets.definitions", "--job", "plays_build_stale"]
    command = [sys.executable, "-m", "dagster", "job", "launch", *location, "--config", str(config)]
    subprocess.run(command, cwd=folder, env=environment, check=True)


def ended(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """Wait for the run. If its Ray job fails before Dagster begins in it, only the launcher knows; the daemon asks it in the same way."""
    deadline = time.monotonic() + _SECONDS
    while True:
        (run,) = instance.get_runs()
        if run.is_finished:
            return run
        health = instance.run_launcher.check_run_worker_health(run)
        if health.status is WorkerStatus.FAILED or time.monotonic() > deadline:
            sys.exit(f"the run is {run.status.value}, and its Ray job {health.status.value}: {(health.msg or '')[:1000]}")
        time.sleep(1)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        folder = Path(name)
        os.environ |= {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),  # the entrypoint of the Ray job is `dagster`
            "RAY_TMPDIR": str(folder / "ray"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "DAGSTER_HOME": str(folder / "home"),
        }
        environment = {**os.environ, "PHYAGI_ASSETS_DATA": str(folder / "data"), "PHYAGI_ASSETS_STORE": str(folder / "store")}
        (folder / "home").mkdir()
        declare(folder / "data")
        with cluster() as address:
            (folder / "home" / "dagster.yaml").write_text(_INSTANCE.format(address=address), encoding="utf-8")
            launch(folder, environment)
            with dg.DagsterInstance.get() as instance:
                run = ended(instance)
                built = {step: sorted(instance.get_materialized_partitions(dg.AssetKey(["plays", step]))) for step in _STEPS}
    print(f"the run ended with {run.status.value}; materialized: {built}")
    if run.status is not dg.DagsterRunStatus.SUCCESS or set(map(tuple, built.values())) != {("one", "two")}:
        sys.exit(1)


if __name__ == "__main__":
    main()
