"""datatrove's tokenization: a reader and ``DocumentTokenizer``, run by ``LocalPipelineExecutor`` with two workers.

A task reads whole files, so each of the two files is one task. The documents stay in order, which avoids the shuffle that is the default.
Each task writes a file of ids, and the ends of the documents beside it. Batches have the default size of 10,000 documents, which takes most
of the memory; batches of 1,000 were not faster.
"""

import sys

import numpy as np
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader, ParquetReader
from datatrove.pipeline.tokens import DocumentTokenizer
from datatrove.utils.logging import logger
from task import EOS, Stopwatch, done, task

if __name__ == "__main__":
    given = task()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    reader = {"jsonl": JsonlReader, "parquet": ParquetReader}[given.format]
    output = given.work / "tokens"

    with Stopwatch() as watch:
        LocalPipelineExecutor(
            pipeline=[
                reader(str(given.source), glob_pattern=f"*.{given.format}"),
                DocumentTokenizer(
                    output_folder=str(output),
                    tokenizer_name_or_path=str(given.backend),
                    eos_token=EOS,
                    shuffle_documents=False,
                ),
            ],
            tasks=len(given.files),
            workers=2,
            logging_dir=str(given.work / "logs"),
        ).run()

    arrays = sorted(output.glob("*.ds"))
    dtype = np.dtype("<u2" if given.dtype is np.uint16 else "<u4")
    tokens = sum(file.stat().st_size for file in arrays) // dtype.itemsize
    done(watch, tokens=tokens, arrays=arrays, ends=sorted(output.glob("*.ds.index")), dtype=dtype.str)
