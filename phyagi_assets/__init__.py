"""phyagi-assets: text to training batches, as Dagster assets and as a dataset library."""

__version__ = "0.1.0"
