"""Module attributes from other packages, which are imported when an attribute is first used.

Tests of training code replace such names in the modules of the reference library:
``patch("phyagi_assets.datasets.train.lm.lm_dataset_provider.load_dataset")``. These modules therefore have the names as attributes and look
them up there (``sys.modules[__name__]``), but importing the modules imports neither ``datasets`` nor ``transformers``.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def late_names(**packages: str) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module with names from other packages.

    Parameters
    ----------
    **packages
        Package of each name.

    Examples
    --------
    >>> late_names(sqrt="math")("sqrt")(9)
    3.0
    """

    def find(name: str) -> Any:
        if name not in packages:
            raise AttributeError(f"the module has no attribute {name!r}")
        return getattr(import_module(packages[name]), name)

    return find
