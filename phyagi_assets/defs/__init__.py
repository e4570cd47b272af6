"""Instances of the components: the catalog of the data folder."""
