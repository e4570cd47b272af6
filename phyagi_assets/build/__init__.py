"""Decide what has to be built now: staleness of artifacts, and scans of sources."""
