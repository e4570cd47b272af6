"""The base of the YAML schemas, and the bounds that the schemas of corpora and mixtures share.

The models are frozen and reject unknown keys and wrong types. :mod:`phyagi_assets.declare.yaml_reader` reads the files and turns
validation errors into errors that name the line. No schema accesses the disk.
"""

from pydantic import BaseModel, ConfigDict

SMALLEST_AMOUNT, LARGEST_WEIGHT = 1e-6, 1e6
"""Bounds of weights and shares. Beyond them, an epoch has less than one sample of a corpus, or more samples than positions can count."""


class Declared(BaseModel):
    """Base of all declarations: immutable, strict about types, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
