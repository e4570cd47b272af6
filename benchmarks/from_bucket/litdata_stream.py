"""litdata: a ``StreamingDataset`` with its ``TokensLoader`` over chunks of 64 MB in the bucket, shuffled."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from from_bucket.task import BATCH, run, task
from litdata import StreamingDataLoader, StreamingDataset, TokensLoader
from litdata.streaming import downloader

given = task()
downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True  # the local server has no TLS, and litdata has no option that allows it


def opened(cache: Path) -> Iterable[Any]:
    cache.mkdir(parents=True)
    dataset = StreamingDataset(
        f"{given.bucket}/litdata", cache_dir=str(cache), item_loader=TokensLoader(given.seq_len), shuffle=True, drop_last=True
    )
    return StreamingDataLoader(dataset, batch_size=BATCH, num_workers=given.workers, drop_last=True)


if __name__ == "__main__":
    run(given, opened, lambda batch: batch.long().numel())
