"""Put the folder of the benchmarks first in the import path, as when they run as programs."""

import sys

from tests.support import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
