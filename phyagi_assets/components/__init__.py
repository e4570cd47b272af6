"""Earlier import paths that users name in their ``defs.yaml``; the code is in `phyagi_assets.orchestration`."""
