"""Boundaries of documents, in samples and in a batch for attention kernels."""

from pathlib import Path

import numpy as np
import pytest
import torch

from phyagi_assets.datasets import DocumentCollator, MixtureLoader, load_mixture
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from tests.support import build, declare, declare_corpus, write_jsonl

EOS = 50_256


@pytest.fixture
def folder(workspace: Workspace) -> Path:
    """Documents of one to twenty tokens and an EOS, in samples of 16."""
    write_jsonl(workspace.data / "raw.jsonl", [" word" * (1 + i * 7 % 20) for i in range(120)])
    corpus = declare_corpus(workspace.data, "one", "raw.jsonl")
    build(corpus, workspace)
    mixture = load_yaml(declare(workspace.data, "mixtures", name="mix", seq_len=16, datasets=[{"corpus": "one"}]), MixtureConfig)
    return build_mixture(mixture, {"one": corpus}, {"one": list(workspace.sources.partitions(corpus))}, workspace).artifact.path


@pytest.mark.parametrize("shift", [False, True])
def test_position_ids_and_document_ids_match_a_plain_walk_over_the_tokens(folder: Path, shift: bool) -> None:
    train = load_mixture(folder, boundaries=True, mask_boundaries=True, shift_labels=shift).train
    plain = load_mixture(folder, shift_labels=shift).train
    for i in range(len(train)):
        sample, ids = train[i], train[i]["input_ids"].tolist()
        document, position, documents, positions = 0, 0, [], []
        for token in ids:  # the EOS is a document's last token
            documents.append(document)
            positions.append(position)
            document, position = (document + 1, 0) if token == EOS else (document, position + 1)
        assert sample["document_ids"].tolist() == documents
        assert sample["position_ids"].tolist() == positions
        asked = plain[i]["labels"].tolist()
        before = ids if shift else [None, *ids[:-1]]  # what stands before the token that a label asks for
        wanted = [-100 if token == EOS else label for token, label in zip(before, asked, strict=True)]
        assert sample["labels"].tolist() == wanted
        assert sample["input_ids"].tolist() == plain[i]["input_ids"].tolist()


def test_collated_batch_contains_the_bounds_of_every_document(folder: Path) -> None:
    train = load_mixture(folder, boundaries=True).train
    samples = [train[i] for i in range(6)]
    before = [sample["input_ids"].clone() for sample in samples]
    from_samples = DocumentCollator()(samples)
    from_batch = DocumentCollator()(next(iter(MixtureLoader(train, batch_size=6))))
    for name, column in from_samples.items():
        assert torch.equal(torch.as_tensor(column), torch.as_tensor(from_batch[name]))
    bounds = from_samples["cu_seqlens"]
    assert bounds.dtype == torch.int32
    ids = from_samples["input_ids"].ravel().tolist()
    expected = [0, *(i + 1 for i, token in enumerate(ids) if token == EOS or (i + 1) % 16 == 0)]
    assert bounds.tolist() == sorted(set(expected))
    assert from_samples["max_seqlen"] == int(np.diff(bounds.numpy()).max())
    assert all(torch.equal(sample["input_ids"], kept) for sample, kept in zip(samples, before, strict=True))


def test_first_label_of_each_joined_sample_is_ignored_unless_labels_are_shifted(folder: Path) -> None:
    for shift, told in ((False, None), (False, False), (True, None), (True, True)):
        train = load_mixture(folder, boundaries=True, mask_boundaries=True, shift_labels=shift).train
        samples = [train[i] for i in range(5)]
        labels = [sample["labels"].tolist() for sample in samples]
        expected = [token for row in labels for token in (row if shift else [-100, *row[1:]])]
        assert DocumentCollator(shift_labels=told)(samples)["labels"].ravel().tolist() == expected
        assert [sample["labels"].tolist() for sample in samples] == labels


def test_labels_of_joined_samples_equal_those_of_the_flattening_collator(folder: Path) -> None:
    from transformers import DataCollatorWithFlattening

    train = load_mixture(folder, boundaries=True).train
    samples = [train[i] for i in range(3)]
    plain = [{name: sample[name].tolist() for name in ("input_ids", "labels")} for sample in samples]
    expected = DataCollatorWithFlattening(return_tensors="pt")(plain)
    joined = DocumentCollator()(samples)
    assert torch.equal(joined["labels"], expected["labels"])
    assert torch.equal(joined["input_ids"], expected["input_ids"])


def test_batch_equals_that_of_the_flattening_collator_on_the_documents(folder: Path) -> None:
    from transformers import DataCollatorWithFlattening

    train = load_mixture(folder, boundaries=True, mask_boundaries=True).train
    samples = [train[i] for i in range(5)]
    documents = []
    for sample in samples:
        starts = torch.nonzero(sample["position_ids"] == 0).ravel().tolist()
        documents += [{"input_ids": ids.tolist()} for ids in torch.tensor_split(sample["input_ids"], starts[1:])]
    expected = DataCollatorWithFlattening(return_tensors="pt", return_flash_attn_kwargs=True)(documents)
    collated = DocumentCollator(bounds="transformers")(samples)
    assert collated.keys() == expected.keys()
    for name, column in expected.items():
        assert torch.equal(torch.as_tensor(collated[name]), torch.as_tensor(column)), name
        assert getattr(collated[name], "dtype", int) == getattr(column, "dtype", int)
    alone = DocumentCollator(bounds="position_ids")(samples)
    assert alone.keys() == {"input_ids", "labels", "position_ids"}
    assert torch.equal(alone["position_ids"], expected["position_ids"])


def test_unknown_form_of_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="bounds: is 'jagged'; use one of 'flash_attn', 'transformers', 'position_ids'"):
        DocumentCollator(bounds="jagged")  # type: ignore[arg-type]


def test_samples_without_boundaries_raise_an_error_with_the_remedy(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"position_ids: is missing from the samples; load the mixture with boundaries=True"):
        DocumentCollator()([load_mixture(folder).train[0]])
