"""phyagi-assets: `MixtureLoader` over a mixture on disk or in the bucket."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from from_bucket.task import BATCH, run, task

from phyagi_assets.datasets import MixtureLoader, load_mixture

given = task()


def opened(cache: Path) -> Iterable[Any]:
    place = str(given.source) if given.on_disk else given.place
    mixture = load_mixture(given.mixture, store=place, cache_dir=cache, cache_bytes=int(given.cache_share * given.bytes))
    return islice(MixtureLoader(mixture.train, batch_size=BATCH), getattr(given, "batches", None))


if __name__ == "__main__":
    run(given, opened, lambda batch: batch["input_ids"].numel())
