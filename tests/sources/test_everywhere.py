"""The sample corpora give the same documents and token arrays from every kind of source."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from phyagi_assets.declare.catalog import Corpus
from phyagi_assets.declare.corpus_schema import CorpusConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.sources.documents import read_documents
from phyagi_assets.sources.files import readable
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.fingerprint import file_digest
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.engine_pool import EnginePool
from tests.hub import Hub
from tests.s3 import S3Server
from tests.support import DATA, build, declare_corpus, write_text

ENGINES = EnginePool()
SAMPLES = ["factbook", "shakespeare"]
FILES = {name: sorted((DATA / "raw" / name).glob("*.*")) for name in SAMPLES}


def sample(data: Path, name: str, path: str, **source: Any) -> Corpus:
    """Declare a sample corpus with one partition and another source."""
    declared = load_yaml(DATA / "corpora" / f"{name}.yaml", CorpusConfig).config
    source = {"path": path, "format": declared.source.format, "sample_by": declared.source.sample_by} | source
    keys = {"columns": list(declared.columns), "splits": dict(declared.splits), "append_eos": declared.append_eos}
    return declare_corpus(data, "sample", path, source=source, **keys)


def built(data: Path, name: str, path: str, **source: Any) -> dict[str, str]:
    """Return the content fingerprint and the digests of all arrays without file names and rows."""
    workspace = Workspace(data=data, store=LocalStore(data / "store"), engines=ENGINES)
    cache = build(sample(data, name, path, **source), workspace)["all"][-1].artifact
    arrays = {path.name: file_digest(path) for path in cache.path.glob("*.npy") if ".origins." not in path.name}
    return {"content": cache.manifest.details["content"], **arrays}


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_corpora_are_the_same_from_every_source(
    name: str, workspace: Workspace, s3: S3Server, hub_running: Hub, hub_client: ProcessPoolExecutor
) -> None:
    data = workspace.data
    for file in FILES[name]:
        write_text(data / "raw" / name / file.name, file.read_bytes())
        write_text(hub_running.repositories / "datasets" / "lab" / name / "all" / file.name, file.read_bytes())
        s3.put(f"lake/{name}/{file.name}", file)
    near = built(data, name, f"raw/{name}/*")
    assert built(data, name, f"s3://raw/lake/{name}/*") == near
    assert hub_client.submit(built, data, name, f"hf://lab/{name}/all/*").result() == near
    corpus = sample(data, name, f"raw/{name}/*")
    partition = workspace.sources.partitions(corpus)["all"]
    texts = [text for batch in read_documents(corpus, readable(partition)) for text in batch.texts.to_pylist()]
    Dataset.from_dict({"text": texts}).save_to_disk(data / "raw" / "saved", num_shards=3)
    assert built(data, name, "raw/saved", format="arrow") == near
    assert near["content"] != built(data, name, f"raw/{name}/*[a-m].*")["content"]
