"""The benchmark of packing, on a small scale."""

from pathlib import Path

import packing
import pytest


@pytest.mark.torch
def test_benchmark_packs_each_kind_of_documents_and_reads_all_batches(tmp_path: Path) -> None:
    for name, of in packing.KINDS.items():
        lengths = of(400_000)
        samples, _ = packing.timed_packing(lengths, packing.SEQ_LEN)
        assert lengths.sum() <= samples.samples * packing.SEQ_LEN
        packing.write_mixture(tmp_path / name, lengths, is_packed=True)
        assert packing.tokens_per_second(tmp_path / name) > 0
