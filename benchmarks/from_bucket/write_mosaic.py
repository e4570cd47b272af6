"""Write token arrays as an MDS stream of mosaicml-streaming."""

import numpy as np
from contender import given
from streaming_import import MDSWriter

if __name__ == "__main__":
    told = given()
    with MDSWriter(out=told.folder, columns={"tokens": f"ndarray:uint16:{told.seq_len}"}) as writer:
        for path in sorted(told.source.rglob("*/.versions/*/train.npy")):
            ids = np.load(path, mmap_mode="r")
            for start in range(0, len(ids) - told.seq_len + 1, told.seq_len):
                writer.write({"tokens": np.array(ids[start : start + told.seq_len])})
    print("{}")
