"""This project's command, as a user types it: the time is that of its whole process."""

import os
import subprocess
import sys
from pathlib import Path

from our_corpus import NAME, data_folder, published
from task import Stopwatch, done, task

given = task()
data = data_folder(given)
command = [Path(sys.executable).with_name("phyagi-assets"), "materialize", NAME, "--data", data, "--store", data / "store"]
command += ["--jobs", str(given.jobs)] if "jobs" in vars(given) else []
environment = {name: value for name, value in os.environ.items() if name != "DAGSTER_HOME"}

with Stopwatch() as watch:
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)

done(watch, **published(data))
