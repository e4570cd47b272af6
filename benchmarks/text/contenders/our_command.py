"""This project's command, as a user runs it; the time is that of the whole process."""

import os
import subprocess
import sys
from pathlib import Path

from our_corpus import NAME, opened, published
from task import Stopwatch, done, task

given = task()
data = opened(given)[1].data  # the engines are compared once per store, which is not part of the time
command = [Path(sys.executable).with_name("phyagi-assets"), "materialize", NAME, "--data", data, "--store", data / "store"]
command += ["--jobs", str(given.jobs)] if "jobs" in vars(given) else []
environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}

with Stopwatch() as watch:
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

done(watch, **published(data))
