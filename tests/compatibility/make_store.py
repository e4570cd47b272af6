"""Write ``store.tar.xz`` and ``expected.json`` with the release whose store later ones have to open.

Run it with a checkout of that release first on ``PYTHONPATH``, from a folder outside this repository::

    PYTHONPATH=/path/to/release python /path/to/make_store.py /path/to/this/folder
"""

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import MixtureLoader, MixtureStream, load_mixture
from phyagi_assets.inspection.exposure import exposures
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer

SEQ_LEN = 16
TRAIN_POSITIONS = 90
WEIGHTS = ((1.0, 1.0), (1.5, 0.5))
SEGMENT_START = 20
NOW = 1_700_000_000
"""Modification time of every source file."""


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        declare(data)
        write_source(data, "letters", "a", 40)
        write_source(data, "letters", "b", 25)
        write_source(data, "letters", "s", 1)
        write_source(data, "numbers", "x", 30)
        write_source(data, "numbers", "y", 12)
        expected: dict[str, Any] = {"plans": {}}
        for weights in WEIGHTS:
            declare_mixture(data, "mix", weights)
            materialize(data, "mix")
        expected["states"] = states(data)
        write_source(data, "letters", "late", 20)
        materialize(data, "mix", "--at", str(SEGMENT_START))
        declare_mixture(data, "plain", (1.0, 2.0))
        declare_mixture(data, "in_turn", (1.5, 1.0), concat="sequential", shuffle=False)
        materialize(data)
        store = data / "store"
        for plan in sorted(store.glob("*/.versions/*/mixture.json")):
            expected["plans"][plan.relative_to(store).as_posix()] = described(plan, is_published(plan))
        expected["published"] = {name: load_mixture(name, store=store).plan.fingerprint for name in ("mix", "plain", "in_turn")}
        expected["exposures"] = shown(store)
        (folder / "expected.json").write_text(json.dumps(expected, separators=(",", ":")) + "\n", encoding="utf-8")
        pack(data, folder / "store.tar.xz")


def declare(data: Path) -> None:
    for kind in ("corpora", "mixtures"):
        (data / kind).mkdir(parents=True)
    save_byte_tokenizer(data / "tokenizers" / "bytes")
    for name in ("letters", "numbers"):
        keys = {"name": name, "source": {"path": f"raw/{name}/*.jsonl"}, "partition_by": "file", "tokenizer": "tokenizers/bytes"}
        (data / "corpora" / f"{name}.yaml").write_text(yaml.safe_dump({**keys, "splits": {"validation": 0.2}}), encoding="utf-8")


def declare_mixture(data: Path, name: str, weights: tuple[float, float], **keys: Any) -> None:
    parts = [{"corpus": corpus, "weight": weight} for corpus, weight in zip(("letters", "numbers"), weights, strict=True)]
    mixture = {"name": name, "seq_len": SEQ_LEN, "datasets": parts, **keys}
    (data / "mixtures" / f"{name}.yaml").write_text(yaml.safe_dump(mixture), encoding="utf-8")


def write_source(data: Path, corpus: str, key: str, rows: int) -> None:
    path = data / "raw" / corpus / f"{key}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [f"{corpus} {key} {row} {'é' * (row * 7 % 23)}" for row in range(rows)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    os.utime(path, (NOW, NOW))


def materialize(data: Path, *arguments: str) -> None:
    command = [
        sys.executable,
        "-c",
        "from phyagi_assets.cli import main; main()",
        "materialize",
        "--data",
        str(data),
        "--jobs",
        "1",
        *arguments,
    ]
    subprocess.run(command, check=True)


def states(data: Path) -> dict[str, Any]:
    """Return the states of loaders after three steps, and the batch that each reads next."""
    loaded = load_mixture("mix", store=data / "store")
    loader = MixtureLoader(loaded.train, batch_size=4)
    stream = MixtureStream(loaded.train, batch_size=4)
    stateful = StatefulDataLoader(MixtureStream(loaded.train, batch_size=4), batch_size=None, num_workers=2)
    found = {}
    for name, one, steps in (("MixtureLoader", loader, 3), ("MixtureStream", stream, 3), ("StatefulDataLoader", stateful, 3)):
        batches = iter(one)
        for _ in range(steps):
            next(batches)
        found[name] = {"state": one.state_dict(), "next": next(batches)["input_ids"].tolist()}
    return found


def is_published(plan: Path) -> bool:
    return (plan.parents[2] / "mixed_dataset").resolve() == plan.parent.resolve()


def described(plan: Path, published: bool) -> dict[str, Any]:
    """Return the samples of a plan with their labels, boundaries and sources."""
    plain, full = load_mixture(plan), load_mixture(plan, shift_labels=True, boundaries=True, mask_boundaries=True)
    found: dict[str, Any] = {"fingerprint": plain.plan.fingerprint, "is_published": published, "length": len(plain.train)}
    for split in ("train", "validation"):
        dataset, other = getattr(plain, split), getattr(full, split)
        positions = np.arange(TRAIN_POSITIONS if split == "train" else len(dataset))
        batch, boundaries = dataset.batch(positions), other.batch(positions)
        found[split] = {
            "corpus": batch["corpus"],
            "input_ids": batch["input_ids"].tolist(),
            "labels": batch["labels"].tolist(),
            "shifted_labels": boundaries["labels"].tolist(),
            "position_ids": boundaries["position_ids"].tolist(),
            "explained": [row["file"] + row["row"] + row["tokens"] for row in plain.explain(0, 12, split=split).rows()],
        }
    return found


def shown(store: Path) -> list[dict[str, Any]]:
    documents = {row["id"] for row in load_mixture("mix", store=store).explain(0, 6).rows() if row["corpus"] == "letters"}
    found = exposures("letters", sorted(documents), LocalStore(store), 200)
    return [{"plan": one.plan, "split": one.split, "id": one.id, "positions": one.positions} for one in found]


def pack(data: Path, archive: Path) -> None:
    with tarfile.open(archive, "w:xz", preset=9) as file:
        file.add(data, "data", filter=packed)


def packed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out files that only this machine needs: logs of runs, and cached digests."""
    name = f"{entry.name}/"
    is_run = "/.dagster/history/runs/" in name and entry.isfile() and not entry.name.endswith("index.db")
    if is_run or "/.dagster/storage/" in name or "/.digests/" in name:
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    main(Path(sys.argv[1]))
