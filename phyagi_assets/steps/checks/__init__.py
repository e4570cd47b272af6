"""Checks of a version, made before it is published and when it is found for reuse."""
