"""Datasets for language modelling: windows of token ids."""
