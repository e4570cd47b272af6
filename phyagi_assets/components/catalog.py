"""The component under its earlier import path."""

from phyagi_assets.orchestration.component import CatalogComponent

__all__ = ["CatalogComponent"]
