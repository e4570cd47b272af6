"""Collect cyclic garbage rarely, and not at exit: each interpreter of the tests imports this module first.

The modules that an interpreter imports, which are up to 750,000 objects, leave none. By default, the search for it is two fifths of the
time of their import.
"""

import atexit
import gc

gc.set_threshold(1_000_000, 20, 20)
atexit.register(gc.freeze)
