"""The limit of encoding: the engine alone, on text that is in memory already, in the batches in which this project gives it text.

No file is read or written, no EOS is appended and nothing is verified.
"""

import time

import pyarrow as pa
import pyarrow.parquet as pq
from task import done, task

from phyagi_assets.sources.documents import BATCH_BYTES
from phyagi_assets.tokenizers.engines import FastokensEngine

given = task()
engine = FastokensEngine(given.tokenizer / "tokenizer.json")
texts = pa.concat_tables(pq.read_table(file, columns=["text"]) for file in given.files).column("text").combine_chunks()
documents = max(1, round(len(texts) * BATCH_BYTES / texts.nbytes))
batches = [pa.concat_arrays([texts[start : start + documents]]) for start in range(0, len(texts), documents)]

started = time.perf_counter()
tokens = sum(len(engine.encode(batch).ids) for batch in batches)
seconds = time.perf_counter() - started

done(seconds, tokens=tokens)
