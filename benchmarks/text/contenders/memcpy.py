"""The limit of anything: the bytes of the files copied in memory, once all pages are there."""

import time

import numpy as np
from task import done, task

content = np.concatenate([np.fromfile(file, np.uint8) for file in task().files])
copy = content.copy()

started = time.perf_counter()
np.copyto(copy, content)
done(time.perf_counter() - started)
