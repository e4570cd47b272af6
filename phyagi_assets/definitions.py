"""The entry point that workspace.yaml and ``dg`` load."""

import warnings
from pathlib import Path

import dagster as dg

from phyagi_assets.orchestration.component import data_folder_definitions
from phyagi_assets.settings import Settings

# Dagster warns about a parameter that it passes itself if an asset has checks.
warnings.filterwarnings("ignore", message="Parameter `execution_type`", category=dg.BetaWarning)


@dg.definitions
def defs() -> dg.Definitions:
    """Load the definitions of the data folder: through ``defs/`` in a checkout of the project, directly in an installed package."""
    package = Path(__file__).parent
    if (package.parent / "pyproject.toml").is_file():
        return dg.load_from_defs_folder(path_within_project=package)
    return data_folder_definitions(Settings.resolve())
