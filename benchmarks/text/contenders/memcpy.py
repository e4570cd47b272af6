"""The limit of anything: the bytes of the files copied in memory, once all pages are there."""

import numpy as np
from task import Stopwatch, done, task

content = np.concatenate([np.fromfile(file, np.uint8) for file in task().files])
copy = content.copy()

with Stopwatch() as watch:
    np.copyto(copy, content)
done(watch)
