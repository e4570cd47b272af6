"""This project's command, as a user types it: the time is that of its whole process."""

import os
import subprocess
import sys
import time
from pathlib import Path

from our_corpus import NAME, data_folder, published
from task import done, task

data = data_folder(task())
command = [Path(sys.executable).with_name("phyagi-assets"), "materialize", NAME, "--data", data, "--store", data / "store"]
environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}

started = time.perf_counter()
subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
seconds = time.perf_counter() - started

done(seconds, **published(data))
