"""Import of mosaicml-streaming, which imports torchvision for datasets of images only, without a torchvision that fits torch."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

try:
    import torchvision  # noqa: F401
except Exception:
    for name in ("torchvision", "torchvision.datasets", "torchvision.transforms", "torchvision.transforms.functional"):
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
    sys.modules["torchvision.datasets"].VisionDataset = object  # type: ignore[attr-defined]
    sys.modules["torchvision.transforms.functional"].to_tensor = None  # type: ignore[attr-defined]

from streaming import MDSWriter, Stream, StreamingDataset

__all__ = ["MDSWriter", "Stream", "StreamingDataset"]
