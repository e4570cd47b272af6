"""Read damaged variants of a store's files, many in one process.

Each variant is one damaged file of a published version. What reads stores gives what it gave before, or an error that names a path in the
store; where neither is so, as with a token that became another one, the check of the store has to name the file.
"""

import random
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from phyagi_assets.datasets import load_mixture
from phyagi_assets.declare.catalog import load_catalog
from phyagi_assets.declare.corpus_schema import LimitsConfig
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.token_rows import row_batches
from phyagi_assets.inspection.exposure import exposures
from phyagi_assets.inspection.integrity import store_problems
from phyagi_assets.inspection.named import inspect_named
from phyagi_assets.steps.cache import build_cache
from phyagi_assets.steps.checks.arrays import check_arrays
from phyagi_assets.steps.checks.tokens import check_tokens
from phyagi_assets.steps.lengths import array_lengths, row_lengths
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import MANIFEST
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import EnginePool
from phyagi_assets.tokenizers.prepare import prepare_tokenizer
from tests.robustness.variants import damaged, texts
from tests.support import build, declare, declare_corpus, write_jsonl
from tests.tokenizers.faulty_engines import REFUSING

ROWS, CACHE, PLAN = "c/tokenized_arrow/a", "c/numpy_cache/a", "mix/mixed_dataset"


class Artifacts:
    """Damages the files of a small store and reads them."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder / "data", ignore_errors=True)
        self._data = folder / "data"
        save_byte_tokenizer(self._data / "tk")
        self._workspace = Workspace(data=self._data, store=LocalStore(self._data / "store"), engines=EnginePool(REFUSING))
        for name, seed in (("a", 1), ("b", 2)):
            write_jsonl(self._data / "raw" / f"{name}.jsonl", texts(seed))
        self._corpus = declare_corpus(self._data, "c", "raw/*.jsonl", tokenizer="tk", partition_by="file", splits={"validation": 0.2})
        declare(self._data, "mixtures", name="mix", seq_len=32, datasets=[{"corpus": "c"}])
        built = build(self._corpus, self._workspace)
        catalog = load_catalog(self._data)
        build_mixture(catalog.mixtures["mix"], catalog.corpora, {"c": list(built)}, self._workspace)
        self._published = {address: self._open(address) for address in (ROWS, CACHE, PLAN)}
        self._files = [
            artifact.path / name
            for artifact in self._published.values()
            for name in [*artifact.manifest.files, MANIFEST]
            for _ in range(6 if name.endswith((".arrow", ".npy", ".json")) and "tokenizer" not in name else 1)
        ]
        self._readers: dict[str, Callable[[], Any]] = {
            "rows": lambda: [batch.to_pylist() for batch in row_batches(self._published[ROWS])],
            "lengths": lambda: [row_lengths(self._published[ROWS]).tolist(), array_lengths(self._published[CACHE]).tolist()],
            "token checks": self._check_tokens,
            "array checks": lambda: [str(check) for check in check_arrays(self._published[CACHE], self._published[ROWS].manifest)],
            "inspect": lambda: [str(inspect_named(address, self._workspace.store)) for address in ("c", ROWS, CACHE, PLAN, "mix")],
            "train": self._train,
            "exposure": lambda: [str(found) for found in exposures("c", ["0" * 16], self._workspace.store)],
            "cache": self._build_cache,
        }
        self._whole = {name: read() for name, read in self._readers.items()}

    def _open(self, address: str) -> Artifact:
        artifact = self._workspace.store.open(address)
        assert artifact
        return artifact

    def _check_tokens(self) -> list[str]:
        prepared = prepare_tokenizer(self._corpus, self._workspace.identities, self._workspace.store)
        decoder = self._workspace.engines.decoder(prepared)
        return [str(check) for check in check_tokens(self._published[ROWS], LimitsConfig(), decoder)]

    def _train(self) -> list[str]:
        mixture = load_mixture(self._published[PLAN].path)
        found = []
        for split in (mixture.train, mixture.validation):
            assert split is not None
            batch = split.batch(np.arange(len(split)))
            found += [sha256(np.ascontiguousarray(batch["input_ids"]).tobytes()).hexdigest(), str(len(split))]
        return [*found, str(mixture.explain(0, 3))]

    def _build_cache(self) -> str:
        """Rebuild the cache from the rows, and restore the earlier one."""
        pointer = self._workspace.store.pointer(CACHE)
        target, version = pointer.readlink(), pointer.resolve()
        aside = version.with_name("aside")
        version.rename(aside)
        try:
            partition = self._workspace.sources.partitions(self._corpus)["a"]
            built = build_cache(self._corpus, partition, self._workspace)
            return f"{built.artifact.manifest.files} {built.failures}"
        finally:
            shutil.rmtree(version, ignore_errors=True)
            aside.rename(version)
            pointer.unlink(missing_ok=True)  # a damaged manifest may have led to another version
            pointer.symlink_to(target)

    def __call__(self, number: int) -> tuple[str, str]:
        """Read one variant; return its description and its outcome."""
        draw = random.Random(number)
        path = draw.choice(self._files)
        whole = path.read_bytes()
        damage, content = damaged(whole, draw)
        what = f"{path.relative_to(self._data)}: {damage}"
        path.unlink()
        path.write_bytes(content)
        try:
            return what, "right: nothing changed" if content == whole else self._outcome(path)
        finally:
            path.unlink()
            path.write_bytes(whole)

    def _outcome(self, path: Path) -> str:
        wrong, errors = [], 0
        for name, read in self._readers.items():
            try:
                if read() != self._whole[name]:
                    wrong.append(name)
            except PhyagiAssetsError as problem:
                errors += 1
                if str(self._data / "store") not in str(problem) and not any(address in str(problem) for address in self._published):
                    return f"unnamed: {name}: {problem}"
        named = [str(problem) for problem in store_problems(self._workspace.store, lambda _name: None) if str(path.parent) in str(problem)]
        if path.name != MANIFEST and not named:
            return "wrong: the check of the store does not name it"
        if wrong and not named and path.name != MANIFEST:
            return f"wrong: {', '.join(wrong)}"
        return "error" if errors or named else "right"
