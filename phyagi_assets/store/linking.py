"""The earlier place of `phyagi_assets.store.disk.link`."""

from phyagi_assets.store.disk import link

__all__ = ["link"]
