"""The process that fetches parts of objects."""

from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

from phyagi_assets.objects.bucket import BucketFolder
from phyagi_assets.objects.fetching import FetchingProcess, PartRequest
from tests.s3 import BUCKET, S3Server


def test_sample_does_not_wait_for_the_blocks_that_were_requested_before_it(s3: S3Server, tmp_path: Path) -> None:
    s3.put("array", bytes(range(200)))
    s3.faults.latency = 0.05
    fetching = FetchingProcess(BucketFolder(f"s3://{BUCKET}"))
    requests = [
        PartRequest(key="array", start=i, stop=i + 1, size=200, draft=f"{tmp_path / str(i)}.draft", path=f"{tmp_path / str(i)}")
        for i in range(200)
    ]
    blocks = fetching.submit(requests)
    wait(blocks, return_when=FIRST_COMPLETED)
    (sample,) = fetching.submit([PartRequest(key="array", start=7, stop=9, size=200, urgency=1000)])
    assert sample.result() == bytes([7, 8])
    assert 0 < sum(block.done() for block in blocks) < 120
