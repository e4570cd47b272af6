"""Look for cyclic garbage seldom, and not at the end: each interpreter of the tests imports this before anything else.

The modules that an interpreter imports, which are up to 750,000 objects, leave none. By default, the search for it is two fifths of the
time of their import.
"""

import atexit
import gc

gc.set_threshold(1_000_000, 20, 20)
atexit.register(gc.freeze)
