"""Copies of artifacts in the layouts of other programs."""
