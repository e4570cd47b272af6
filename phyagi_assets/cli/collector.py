"""Run Python's collector of cyclic garbage less often during a command.

A command imports more than a thousand modules, whose objects live until the process ends. By default, Python scans them again and
again while they are imported, and once more at the end, which takes a third of the time of a small change.
"""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000
"""Number of new objects after which the collector runs, instead of some hundreds."""
_GENERATIONS = 20
"""Number of runs on new objects after which the collector scans older ones, too."""


@contextmanager
def few_collections() -> Iterator[None]:
    """Let the collector run seldom in the context, and not at all when the process ends."""
    before = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, _GENERATIONS, _GENERATIONS)
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    try:
        yield
    finally:
        gc.set_threshold(*before)
