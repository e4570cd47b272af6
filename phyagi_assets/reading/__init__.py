"""Reading mixtures without torch: batches as NumPy arrays, with the order, epochs and states of `phyagi_assets.datasets`.

It needs only NumPy.
"""

from phyagi_assets.reading.mixture import LoadedMixture, load_mixture
from phyagi_assets.reading.mixture_loader import MixtureLoader
from phyagi_assets.reading.mixture_samples import MixtureSamples

__all__ = ["LoadedMixture", "MixtureLoader", "MixtureSamples", "load_mixture"]
