"""The entry point that workspace.yaml and ``dg`` load."""

from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    """All that the data folder declares."""
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
