"""``tokenizers`` alone, with batches: a program of a few lines, as users write it without a library.

It uses the fastest call for batches that the version has; threads of the engine encode on all cores.
"""

import numpy as np
from task import Stopwatch, documents, done, save, task
from tokenizers import Tokenizer

given = task()
tokenizer = Tokenizer.from_file(str(given.backend))
encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)  # 1.0 has encode_batch alone

with Stopwatch() as watch:
    pieces: list[np.ndarray] = []
    for file in given.files:
        for texts in documents(file):
            for one in encode(texts):
                pieces.append(np.append(one.ids_array if hasattr(one, "ids_array") else one.ids, given.eos).astype(given.dtype))
    saved = save(given, [(np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces]))])

done(watch, **saved)
