"""gigatoken's own file reader: files → ids in memory, then one array with EOS."""

import awkward as ak
import numpy as np
from gigatoken import JsonlFileSource, ParquetFileSource, Tokenizer
from task import Stopwatch, done, save, task

given = task()
source = {"jsonl": JsonlFileSource, "parquet": ParquetFileSource}[given.format]
tokenizer = Tokenizer.from_json(given.backend.read_bytes())

with Stopwatch() as watch:
    found = ak.to_packed(tokenizer.encode_files(source([str(file) for file in given.files]))).layout
    saved = save(given, [(np.asarray(found.content.data), np.asarray(found.offsets)[1:])], eos=True)

done(watch, **saved)
