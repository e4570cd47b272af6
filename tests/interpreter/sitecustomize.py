"""Look for cyclic garbage seldom, and not at the end: each interpreter of the tests imports this before anything else.

A thousand modules leave none when they are imported, and the search for it is two fifths of the time of their import.
"""

import atexit
import gc

gc.set_threshold(50_000, 20, 20)
atexit.register(gc.freeze)
