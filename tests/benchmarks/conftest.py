"""The benchmarks are programs, whose folder is the first that Python looks in."""

import sys

from tests.support import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "benchmarks"))
