"""The processors of a Ray cluster."""

import logging
from collections.abc import Collection

logger = logging.getLogger(__name__)


class RayProcessors:
    """The processors of the nodes of the cluster to which this process is connected, given the number that a task uses."""

    def __init__(self, per_task: int) -> None:
        import ray

        self._ray = ray
        self.per_task = min(per_task, min(filter(None, self.by_node()), default=1))  # a node of an unknown size may come later
        """Number of processors of a task: those of the smallest node, if it has fewer."""

    def by_node(self, unfit: Collection[str] = ()) -> list[int]:
        """Return the number of processors of each node that is alive and not among the ids of unfit nodes."""
        nodes = (node for node in self._ray.nodes() if node["Alive"] and node["NodeID"] not in unfit)
        return [int(node["Resources"].get("CPU", 0)) for node in nodes]

    def most_tasks(self, unfit: Collection[str]) -> int:
        """Return the largest number of tasks on the cluster: as many as the nodes run, and as many again, so that no node waits."""
        return 2 * max(1, sum(processors // self.per_task for processors in self.by_node(unfit)))

    def log_idleness(self, unfit: Collection[str], seconds: float) -> None:
        """Log why no task has ended for some time, as far as the cluster shows it."""
        fit = self.by_node(unfit)
        avoided = sum(self.by_node()) - sum(fit)
        free = int(self._ray.available_resources().get("CPU", 0)) - avoided
        if max(fit, default=0) < self.per_task:
            logger.warning("no node of the Ray cluster has %d processors for a task; waiting for one", self.per_task)
        elif free < self.per_task:
            logger.info(
                "no task has ended for %.0f s: all %d processors of the Ray cluster are in use, by tasks of this run or by other programs; "
                "waiting tasks begin when processors are free",
                seconds,
                sum(fit),
            )
