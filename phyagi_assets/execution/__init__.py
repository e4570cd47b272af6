"""Execution of work: a pool of local processes, prefetching, and progress. Nothing in this package depends on corpora."""
