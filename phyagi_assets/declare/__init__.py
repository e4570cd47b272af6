"""YAML → frozen, checked models, with errors that name the file, the line and the key."""
