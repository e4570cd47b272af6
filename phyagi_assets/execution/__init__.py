"""Execution of work: in this process, in a pool of local processes, on a Ray cluster, and in threads. Nothing here depends on corpora."""
