"""Helpers under the paths of the reference library."""
