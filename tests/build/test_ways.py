"""Every way to build a corpus gives the same arrays: from and to a disk or a bucket, whole or in chunks, in processes or on a cluster."""

import csv
import gzip
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals
from phyagi_assets.formats.cache_folder import SplitArrays
from phyagi_assets.formats.token_file import open_tokens
from phyagi_assets.sources.chunks import CHUNK_BYTES
from phyagi_assets.steps.cache import CACHE
from phyagi_assets.steps.step import Workspace
from phyagi_assets.steps.text_hashes import text_hashes
from phyagi_assets.store.base import Store
from phyagi_assets.store.local import LocalStore
from tests.build.test_cluster import bucket, build_all
from tests.chat.test_conversations import MARKED, turns
from tests.chat.tokenizers import save_adding_bytes
from tests.ray_nodes import RayNodes
from tests.s3 import S3Server
from tests.support import declare, declare_corpus, write_text

DOCUMENTS = 400
SMALL = 4096
"""Size of chunks, in bytes: some ten of a file here."""
LENIENT: dict[str, Any] = {"on_invalid": "skip", "limits": {"invalid": 1.0, "duplicates": 1.0}}
CHATS: dict[str, Any] = {"messages": "messages", "chat_template": "chat.jinja"}
CORPORA: dict[str, tuple[str, dict[str, Any]]] = {
    "lines": ("text.jsonl", LENIENT),
    "columns": ("crlf.jsonl", {"columns": ["title", "text"], "separator": " | ", "append_eos": False}),
    "compressed": ("text.jsonl.gz", {"special_tokens": "text"}),
    "zipped": ("text.jsonl.zip", {}),
    "nested": ("text.parquet", {"columns": ["meta.text"]}),
    "table": ("table.csv", {"source": {"delimiter": ";"}}),
    "paragraphs": ("text.txt", {"source": {"sample_by": "paragraph"}}),
    "chats": ("chats.jsonl", {**CHATS, **LENIENT}),
    "answers": ("chats.parquet", {**CHATS, "train_on": "last_assistant"}),
}
"""File and settings of each corpus. Each is declared on the disk, in a bucket, and as a copy of what is in the bucket."""


def contents() -> dict[str, bytes]:
    """Return the files: text of many scripts, empty documents, rows that are not valid, line ends of Windows."""
    draw = random.Random(3)
    words = ("the", "naïve", "日本", "🙂", "don't", "<|endoftext|>", "x\u2028y", "a  b", "\t", "é")
    texts = [f"document {i}: {' '.join(draw.choices(words, k=draw.randrange(12)))}" if i % 13 else "" for i in range(DOCUMENTS)]
    rows = [{"title": f"title {i}", "text": text, "meta": {"text": text}} for i, text in enumerate(texts)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    chats = [turns(f"{i} é {text}", f"yes 🙂 {text}", "and?", "no") for i, text in enumerate(texts)]
    table, zipped = io.StringIO(), io.BytesIO()
    csv.writer(table, delimiter=";").writerows([["title", "text"], *([row["title"], f'{row["text"]}\n"quoted"'] for row in rows)])
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("text.jsonl", "\n".join(lines))
    return {
        "text.jsonl": "\n".join('{"text": 7}' if i % 50 == 7 else line for i, line in enumerate(lines)).encode(),
        "crlf.jsonl": "\r\n".join(lines).encode(),
        "text.jsonl.gz": gzip.compress("\n".join(lines).encode()),
        "text.jsonl.zip": zipped.getvalue(),
        "text.parquet": parquet(rows, 37),
        "table.csv": table.getvalue().encode(),
        "text.txt": "\n\n".join(text or "blank" for text in texts).encode(),
        "chats.jsonl": "\n".join('{"messages": []}' if i % 40 == 5 else json.dumps(chat) for i, chat in enumerate(chats)).encode(),
        "chats.parquet": parquet(chats, 23),
    }


def parquet(rows: list[dict[str, Any]], group: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=group)
    return file.getvalue()


def arrays(store: Store) -> dict[str, Any]:
    """Return the content of every cache: the counts, the skipped rows, and the arrays, joined if they are in pieces."""
    found = {}
    for address in store.list():
        cache = store.open(address) if address.step == CACHE.name else None
        if cache:
            folder, manifest = cache.folder(), cache.manifest
            seen: dict[str, Any] = {
                "counts": manifest.counts,
                "left out": manifest.details.get("skipped"),
                "content": manifest.details["content"],
            }
            for split in manifest.counts:
                tokens, documents = open_tokens(folder / f"{split}.npy"), SplitArrays.of(folder, split)
                labels = None if tokens.labels is None else tokens.labels[:].tobytes()
                seen[split] = [tokens.ids[:].tobytes(), labels, documents.origins.tobytes()]
            found[address.name] = seen
    return found


@pytest.mark.usefixtures("few_code_points")
def test_every_way_of_building_gives_the_same_arrays(
    nodes: RayNodes, s3: S3Server, data: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    if not pytestconfig.getoption("soak"):
        pytest.skip("builds 27 corpora six times; --soak does it")
    save_adding_bytes(data / "tok")
    write_text(data / "chat.jinja", MARKED)
    for name, content in contents().items():
        write_text(data / "raw" / name, content)
        s3.put(f"source/{name}", content)
    for name, (file, keys) in CORPORA.items():
        for place, folder, more in (
            ("disk", "raw", {}),
            ("bucket", "s3://raw/source", {}),
            ("copy", "s3://raw/source", {"snapshot": True}),
        ):
            source = {"path": f"{folder}/{file}", **keys.get("source", {})}
            settings = {**keys, **more, "source": source, "tokenizer": "tok", "splits": {"validation": 0.2}, "engine": "tokenizers"}
            corpus = declare_corpus(data, f"{name}_{place}", source["path"], **settings)
            if name == "columns":
                add_removals(corpus, [Removal(id=document_id(int(text_hashes(pa.array(["title 13 | "]))[0])))])
    declare(data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": name} for name in load_catalog(data).corpora])
    ways: dict[str, tuple[Store, int, dict[str, Any]]] = {
        "whole": (LocalStore(tmp_path / "whole"), CHUNK_BYTES, {"processes": 1}),
        "chunks": (LocalStore(tmp_path / "chunks"), SMALL, {"processes": 1}),
        "processes": (LocalStore(tmp_path / "processes"), SMALL, {"processes": 2}),
        "bucket": (bucket("bucket", tmp_path), CHUNK_BYTES, {"processes": 1}),
        "chunks in a bucket": (bucket("chunks", tmp_path), SMALL, {"processes": 1}),
        "cluster": (bucket("cluster", tmp_path), SMALL, {"cluster": nodes.address}),
    }
    expected: dict[str, Any] = {}
    for way, (store, chunk_bytes, how) in ways.items():
        results = build_all(Workspace(data=data, store=store, chunk_bytes=chunk_bytes), **how)
        assert [result.failure for result in results] == [""] * len(results), way
        found = arrays(store)
        assert len(found) == 3 * len(CORPORA), way
        for name, seen in found.items():
            kind = name.rpartition("_")[0]
            assert seen == expected.setdefault(kind, seen), (way, name)
    assert expected["columns"]["counts"]["train"]["documents"] + expected["columns"]["counts"]["validation"]["documents"] == DOCUMENTS - 1
    assert [expected[name]["left out"] is not None for name in CORPORA] == [name in ("lines", "chats") for name in CORPORA]
