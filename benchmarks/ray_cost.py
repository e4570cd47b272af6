"""The cost of distribution: building on a Ray cluster of two nodes on this machine against a pool of local processes.

Run it with ``make bench-ray``. Processor time is compared, not the clock: that of the driver and of the processes that run tasks, without
Ray's own services. Tasks that do nothing show how much of the driver's time a task takes, so how many tasks a driver keeps running.
Prints the tables.
"""

import os
import pickle
import resource
import shutil
import tempfile
import threading
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from measured import cpu_of, resident
from text.inputs import write_inputs

from phyagi_assets.build.executors import new_executor
from phyagi_assets.build.partitions import build_partitions
from phyagi_assets.build.tasks import Builder
from phyagi_assets.build.work import work_of
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.execution.node_check import NodeCheck
from phyagi_assets.execution.ray_address import RayAddress
from phyagi_assets.execution.ray_cluster import RayExecutor
from phyagi_assets.steps.flow import FLOW
from phyagi_assets.steps.step import Scope, Workspace
from phyagi_assets.store.local import LocalStore

TOKENIZER = Path(__file__).parents[1] / "data" / "tokenizers" / "gpt2"


class WorkersTime:
    """Processor time of the processes that run tasks, the children of the nodes' own processes."""

    def __init__(self, raylets: list[int]) -> None:
        self._raylets, self._seen, self._done = raylets, dict[int, float](), threading.Event()
        self.spent = 0.0
        """Processor time of watching, in seconds."""
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            for raylet in self._raylets:
                for path in Path(f"/proc/{raylet}/task").glob("*/children"):
                    for child in path.read_text(encoding="ascii").split():
                        with suppress(OSError):
                            self._look(int(child))
            self.spent = time.thread_time()

    def _look(self, process: int) -> None:
        if b"ray::" in Path(f"/proc/{process}/cmdline").read_bytes():  # not Ray's agents
            self._seen[process] = cpu_of(process, with_children=False) or self._seen.get(process, 0.0)

    def stop(self) -> float:
        """Return the processor time in seconds."""
        time.sleep(0.3)
        self._done.set()
        self._thread.join()
        return sum(self._seen.values())


@contextmanager
def cluster(processors: int) -> Iterator[tuple[RayAddress, list[int]]]:
    """Run two nodes, with half of the processors each; yields the address and the nodes' own processes."""
    from ray.cluster_utils import Cluster

    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [running.add_node(num_cpus=max(1, processors // 2)) for _ in range(2)]
        yield RayAddress(address=running.address, setting="cluster"), [node.all_processes["raylet"][0].process.pid for node in nodes]
    finally:
        running.shutdown()


def workspace(folder: Path, megabytes: float) -> Workspace:
    """Declare a corpus of one large file, and one of a few lines, with which the engines are compared before anything is measured."""
    data = folder / "data"
    (data / "raw").mkdir(parents=True)
    parts = write_inputs(folder / "parts", megabytes=megabytes, seed=1).folder
    with (data / "raw" / "large.jsonl").open("wb") as large:
        for part in sorted(parts.glob("*.jsonl")):
            large.write(part.read_bytes())
    (data / "raw" / "small.jsonl").write_text('{"text": "a few words"}\n', encoding="utf-8")
    (data / "corpora").mkdir()
    for name in ("large", "small"):
        text = f"name: {name}\nsource: {{path: 'raw/{name}.jsonl'}}\ntokenizer: '{TOKENIZER}'\n"
        (data / "corpora" / f"{name}.yaml").write_text(text, encoding="utf-8")
    made = Workspace(data=data, store=LocalStore(data / "store"))
    build(made, "small", 1, None)
    return made


def build(made: Workspace, name: str, processes: int | None, address: RayAddress | None) -> int:
    """Build a corpus, and return its number of tokens."""
    corpora = load_catalog(made.data).corpora
    steps = [step.name for step in FLOW.in_scope(Scope.PARTITION)]
    work = [work_of(corpora[name], partition, steps, made, FLOW) for partition in made.sources.partitions(corpora[name]).values()]
    builder = Builder(corpora=corpora, workspace=made)
    executor = new_executor(builder, work, processes, cluster=address, on_start=id, on_progress=lambda _work, _consumed: None)
    results = list(build_partitions(work, executor))
    for result in results:
        if result.failure:
            raise SystemExit(result.failure)
    return sum(result.tokens for result in results)


def own_time() -> float:
    """Return the processor time of this process, of its children that have ended, and of the pool's processes, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used) + pool_time()


def pool_time() -> float:
    """Return the processor time of the process from which those of the pool are forked, and of these, once they have ended, in seconds."""
    process: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    return cpu_of(process) if process else 0.0


def compare(given: Namespace, address: RayAddress, raylets: list[int], folder: Path) -> None:
    """Print the tokens per second of processor time of the local pool and of the cluster."""
    made = workspace(folder, given.megabytes)
    rates = {}
    for _ in range(given.rounds):
        for where in ("local pool", "Ray"):
            shutil.rmtree(made.data / "store" / "large", ignore_errors=True)
            before, watch = own_time(), WorkersTime(raylets)
            tokens = build(made, "large", given.processors, None if where == "local pool" else address)
            workers = watch.stop() if where == "Ray" else 0.0
            own = own_time() - before - watch.spent
            rates.setdefault(where, []).append(tokens / (own + workers))
            print(f"{where}: {tokens:,} tokens, {own:.1f} s of the driver and its processes, {workers:.1f} s of the nodes' processes")
    best = {where: max(of) for where, of in rates.items()}
    print(f"tokens per second of processor time: {', '.join(f'{where} {rate:,.0f}' for where, rate in best.items())}")
    print(f"Ray / local pool: {best['Ray'] / best['local pool']:.2f}")


class Pickles:
    """Pickling of tasks that refer to no store."""

    def dumps(self, content: Any) -> bytes:
        return pickle.dumps(content)

    def loads(self, pickled: bytes) -> Any:
        return pickle.loads(pickled)


def nothing(_task: object, _on_progress: object) -> None:
    """Run a task that does nothing."""


def empty_tasks(given: Namespace, address: RayAddress) -> None:
    """Print the driver's time and memory per task, of tasks that do nothing."""
    for count in (given.tasks // 10, given.tasks):
        executor = RayExecutor[Any, Any](
            cluster=address,
            run=nothing,
            pickling=Pickles(),
            check=NodeCheck(),
            folders=lambda _task: (),
            name=str,
            on_start=id,
            on_progress=lambda *_: None,
        )
        memory = resident(os.getpid())
        for task in range(count):
            executor.submit(("a task", task))
        queued = resident(os.getpid()) - memory
        results = executor.results()
        next(results)  # excludes the time to connect, to check the nodes and to start the first process
        before, began, most = time.process_time(), time.perf_counter(), resident(os.getpid())
        at_start = most
        for number, _ in enumerate(results):
            if number % 100 == 0:
                most = max(most, resident(os.getpid()))
        cpu, seconds = time.process_time() - before, time.perf_counter() - began
        print(
            f"{count:,} empty tasks: {cpu / count * 1000:.2f} s of the driver per 1,000 tasks, {count / seconds:,.0f} tasks per second, "
            f"queue {queued >> 10:,} KB, growth of the driver's memory while they run {(most - at_start) >> 10:,} KB"
        )


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=2000, help="size of the text")
    parser.add_argument("--tasks", type=int, default=100_000, help="number of tasks that do nothing")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processors", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ray-") as home:
        os.environ |= {"RAY_TMPDIR": home, "RAY_USAGE_STATS_ENABLED": "0"}
        with cluster(given.processors) as (address, raylets):
            if given.tasks:
                empty_tasks(given, address)
            if given.megabytes:
                compare(given, address, raylets, Path(home) / "work")


if __name__ == "__main__":
    main()
