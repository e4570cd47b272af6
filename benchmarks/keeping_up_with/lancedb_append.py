"""LanceDB: a table with a row of ids per document and the name of the partition, to which each partition is added as a version."""

from typing import Any

import lancedb
import pyarrow as pa
from documents import encoder, run

SCHEMA = pa.schema({"partition": pa.string(), "input_ids": pa.list_(pa.uint16())})


def append(told: Any, partitions: list[str]) -> None:
    encode = encoder(told.tokenizer)
    table = lancedb.connect(told.work / "lance").create_table("tokens", schema=SCHEMA, exist_ok=True)
    for name in partitions:
        ids = list(encode(name))
        table.add(pa.table({"partition": [name] * len(ids), "input_ids": ids}, schema=SCHEMA))


if __name__ == "__main__":
    run(append)
