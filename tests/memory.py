"""Leave what has been imported to itself, and look for cyclic garbage less often: this module is imported after all others.

The garbage collector would walk through the imported modules again and again, also in each process that is forked.
"""

import gc

gc.collect()
gc.freeze()
gc.set_threshold(20_000, 10, 10)
