"""The limit of any program: copying the bytes of the files in memory, after all pages are read."""

import numpy as np
from task import Stopwatch, done, task

content = np.concatenate([np.fromfile(file, np.uint8) for file in task().files])
copy = content.copy()

with Stopwatch() as watch:
    np.copyto(copy, content)
done(watch)
