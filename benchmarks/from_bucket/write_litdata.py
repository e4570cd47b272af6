"""Write token arrays as chunks of litdata."""

from pathlib import Path

import numpy as np
import torch
from contender import given
from litdata import TokensLoader
from litdata.streaming.writer import BinaryWriter

if __name__ == "__main__":
    told = given()
    block, folder = told.seq_len, Path(told.folder)
    writer = BinaryWriter(str(folder), chunk_size=64_000_000 // 2 // block * block, item_loader=TokensLoader(block))
    item = 0
    for path in sorted(told.source.rglob("*/.versions/*/train.npy")):
        ids = np.load(path, mmap_mode="r")
        for start in range(0, len(ids) - block + 1, block):
            writer[item] = torch.from_numpy(np.array(ids[start : start + block]))
            item += 1
    writer.done()
    writer.merge()
    print("{}")
