"""How work runs: a pool of local processes, reading ahead, progress. Nothing here knows of a corpus."""
