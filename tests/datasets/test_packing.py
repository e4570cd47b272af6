"""Samples of packed corpora: positions and labels within documents, the same from every loader, resumed from one integer."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import phyagi_assets.reading as arrays
from phyagi_assets.datasets import DocumentCollator, MixtureLoader, MixtureStream, load_mixture
from phyagi_assets.formats.plan import PLAN
from tests.datasets.packed_mixtures import PAD, write_packed

pytestmark = pytest.mark.torch

LENGTHS = [3, 4, 19, 2, 5, 1, 8, 7]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return write_packed(tmp_path / "mix", {"one": LENGTHS}, seq_len=8, shuffle=False)


def columns(batch: dict[str, Any], *names: str) -> list[list[Any]]:
    return [np.asarray(batch[name]).tolist() for name in names]


def documents_of(sample: dict[str, Any]) -> list[list[int]]:
    """Return the ids of a sample, document by document."""
    ids, numbers = np.asarray(sample["input_ids"]), np.asarray(sample["document_ids"])
    return [ids[numbers == number].tolist() for number in range(int(numbers.max()) + 1)]


def test_packed_sample_restarts_positions_and_predicts_no_first_token_of_a_document(home: Path) -> None:
    train = load_mixture(home).train
    assert len(train) == 7
    ids, labels, positions, documents = columns(train[0], "input_ids", "labels", "position_ids", "document_ids")
    assert ids == [0, 1, 2, 3, 4, 5, 6, 33]
    assert labels == [0, 1, 2, -100, 4, 5, 6, -100]
    assert positions == [0, 1, 2, 0, 1, 2, 3, 0]
    assert documents == [0, 0, 0, 1, 1, 1, 1, 2]
    padded = next(sample for sample in train if PAD in sample["input_ids"])
    is_padding = padded["input_ids"] == PAD
    assert (padded["labels"][is_padding] == -100).all()
    assert padded["position_ids"][is_padding].tolist() == list(range(int(is_padding.sum())))


def test_samples_of_an_epoch_hold_each_token_once_and_documents_whole(home: Path) -> None:
    found = [document for sample in load_mixture(home).train for document in documents_of(sample) if document[0] != PAD]
    begins = np.cumsum([0, *LENGTHS])
    whole = [list(range(begin, end)) for begin, end in pairwise(begins.tolist())]
    cut = whole.pop(2)
    assert sorted(found) == sorted([*whole, cut[:8], cut[8:16], cut[16:]])


def test_shifted_labels_of_a_packed_sample_stay_within_the_document(home: Path) -> None:
    plain, shifted = load_mixture(home).train, load_mixture(home, shift_labels=True).train
    for sample, other in zip(plain, shifted, strict=True):
        (expected,) = columns(sample, "labels")
        expected = [*expected[1:], -100]  # each label of the token before
        assert columns(other, "labels", "input_ids", "position_ids") == [expected, *columns(sample, "input_ids", "position_ids")]


@pytest.mark.parametrize("options", [{}, {"boundaries": True}, {"mask_boundaries": True}, {"shift_labels": True}], ids=str)
def test_packed_and_other_corpora_mix(tmp_path: Path, options: dict[str, bool]) -> None:
    home = write_packed(tmp_path / "mix", {"text": [6, 5, 9, 14], "chats": LENGTHS}, seq_len=8, masked=["chats"], unpacked=["text"])
    train = load_mixture(home, **options).train
    numpy = arrays.load_mixture(home, **options).train
    shift = int(options.get("shift_labels", False))
    ends = np.cumsum([6, 5, 9, 14])
    halves = {token for end, length in zip(np.cumsum(LENGTHS), LENGTHS, strict=True) for token in range(end - length + length // 2, end)}
    for position, sample in enumerate(train):
        ids, labels, positions = (np.asarray(sample[name]) for name in ("input_ids", "labels", "position_ids"))
        alike = numpy.batch(np.array([position]))
        assert all(np.array_equal(np.asarray(sample[name]), alike[name][0]) for name in sample)
        if sample["corpus"] == "text":
            starts = np.isin(ids, ends) if options.get("boundaries") else np.zeros(8, dtype=bool)
            starts[0] = True
            place = np.arange(8)
            assert positions.tolist() == (place - np.maximum.accumulate(np.where(starts, place, 0))).tolist()
            expected = ids + shift
            if options.get("mask_boundaries"):
                expected[1:] = np.where(np.isin(ids[1:], ends), -100, expected[1:])
            assert labels.tolist() == expected.tolist()
        else:
            trained = [int(token) for token in labels if token != -100]
            assert {token - 34 for token in trained} <= halves
            first = ids[positions == 0]
            assert not set(trained) & set(first[(1 - shift) :].tolist())


def test_other_corpora_for_evaluation_have_the_keys_of_packed_samples(tmp_path: Path) -> None:
    home = write_packed(tmp_path / "mix", {"text": [6, 5, 9, 12], "chats": LENGTHS}, seq_len=8, unpacked=["text"])
    plan = load_mixture(home).plan
    (text, chats), (_, source) = plan.corpora, plan.current.sources
    (partition,) = text.partitions
    text = replace(text, partitions=(replace(partition, shards={"validation": partition.shards["train"]}),))
    only_chats = replace(plan, corpora=(text, chats), segments=(replace(plan.current, sources=(source,)),), evaluation=(0,))
    (home / PLAN).write_text(only_chats.to_json(), encoding="utf-8")
    mixture = load_mixture(home)
    samples = list(mixture.validation_by_corpus["text"])
    assert set(samples[0]) == set(mixture.train[0])
    assert all(sample["position_ids"].tolist() == [*range(8)] for sample in samples)
    assert DocumentCollator()(samples)["cu_seqlens"].tolist() == [0, 8, 16, 24, 32]


def test_masks_leave_out_the_labels_of_packed_conversations(tmp_path: Path) -> None:
    home = write_packed(tmp_path / "mix", {"chats": LENGTHS}, seq_len=8, masked=["chats"])
    trained = sorted(int(label) for sample in load_mixture(home).train for label in sample["labels"] if label != -100)
    ends = np.cumsum(LENGTHS)
    halves = {token for end, length in zip(ends.tolist(), LENGTHS, strict=True) for token in range(end - length + length // 2, end)}
    firsts = {part for sample in load_mixture(home).train for part in [int(document[0]) for document in documents_of(sample)[1:]]}
    assert trained == sorted(halves - firsts)


def test_very_short_documents_are_packed_with_their_neighbours_and_keep_their_bounds(tmp_path: Path) -> None:
    lengths = [1, 2, 1, 3, 2] * 40
    train = load_mixture(write_packed(tmp_path / "mix", {"one": lengths}, seq_len=64)).train
    (partition,) = train.plan.corpora[0].partitions
    assert partition.index is not None
    assert partition.index.merged
    found = sorted(document for sample in train for document in documents_of(sample) if document[0] != PAD)
    begins = np.cumsum([0, *lengths]).tolist()
    assert found == [list(range(begin, end)) for begin, end in pairwise(begins)]


def test_collated_packed_samples_equal_those_of_transformers(home: Path) -> None:
    from transformers import DataCollatorWithFlattening

    samples = list(load_mixture(home).train)
    features = []
    for sample in samples:
        labels = np.asarray(sample["labels"])
        for number, document in enumerate(documents_of(sample)):
            own = labels[np.asarray(sample["document_ids"]) == number].tolist()
            features.append({"input_ids": document, "labels": own})
    expected = DataCollatorWithFlattening(return_flash_attn_kwargs=True)(features)
    for bounds in ("transformers", "position_ids", "flash_attn"):
        collated = DocumentCollator(bounds=bounds)(samples)
        for name in ("input_ids", "labels", "position_ids"):
            assert collated[name].tolist() == expected[name].tolist(), name
    collated = DocumentCollator(bounds="transformers")(samples)
    for name in ("cu_seq_lens_q", "cu_seq_lens_k"):
        assert collated[name].tolist() == expected[name].tolist()
    assert (collated["max_length_q"], collated["max_length_k"]) == (expected["max_length_q"], expected["max_length_k"])


@pytest.mark.parametrize("position", [0, 3, 11])
def test_packed_mixture_resumes_from_one_integer(tmp_path: Path, position: int) -> None:
    home = write_packed(tmp_path / "mix", {"text": [6, 5, 9, 14], "chats": LENGTHS * 2}, seq_len=8, unpacked=["text"], masked=["chats"])
    train = load_mixture(home).train
    expected = columns(train.batch(np.arange(position, position + 12)), "input_ids", "labels", "position_ids", "document_ids")
    state = {"position": position, "plan": train.plan.fingerprint, "mixture": "mix"}

    def read(loaders: list[Any]) -> list[list[Any]]:
        for loader in loaders:
            loader.load_state_dict(state)
        steps = [[batch for batch, _ in zip(loader, range(12), strict=False)] for loader in loaders]
        batches = [batch for step in zip(*steps, strict=False) for batch in step]
        names = ("input_ids", "labels", "position_ids", "document_ids")
        return [np.concatenate([np.asarray(batch[name]) for batch in batches])[:12].tolist() for name in names]

    ranks = [MixtureStream(train, batch_size=2, rank=rank, world_size=3, endless=True) for rank in range(3)]
    assert read(ranks) == expected
    assert read([MixtureLoader(train, batch_size=4, endless=True)]) == expected
    numpy = arrays.load_mixture(home).train
    assert read([arrays.MixtureLoader(numpy, batch_size=3, endless=True)]) == expected


def test_loader_workers_send_packed_samples(home: Path) -> None:
    train = load_mixture(home).train
    alone, sent = (list(MixtureLoader(train, batch_size=3, num_workers=workers)) for workers in (0, 1))
    names = ("input_ids", "labels", "position_ids", "document_ids", "corpus")
    assert [columns(batch, *names) for batch in sent] == [columns(batch, *names) for batch in alone]


def test_index_of_another_array_is_refused(home: Path) -> None:
    from phyagi_assets.errors import StoreError

    np.save(home / "one" / "train.samples.npy", np.array([0, 1], dtype=np.uint16))
    with pytest.raises(StoreError, match="one: its arrays do not fit each other or the plan; phyagi-assets check"):
        load_mixture(home).train[0]
    (home / "one" / "train.samples.npy").unlink()
    with pytest.raises(StoreError, match=r"train\.samples\.npy: does not exist"):
        load_mixture(home).train[0]


@pytest.mark.parametrize("mask", ["positions", "blocks"])
def test_loss_on_packed_samples_is_that_of_their_documents(tmp_path: Path, mask: str) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    home = write_packed(tmp_path / "mix", {"one": [3, 4, 19, 2, 5, 9, 8, 7, 6]}, seq_len=16)
    samples = list(load_mixture(home).train)
    config = LlamaConfig(
        vocab_size=PAD + 1,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        attn_implementation="sdpa",
        use_cache=False,  # with a cache, transformers does not look for documents in position_ids
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)

    def summed(ids: Any, labels: Any, **inputs: Any) -> float:
        """Return the sum of the losses of a row; the loss of `transformers` itself is computed in float32."""
        logits = model(input_ids=ids[None], **inputs).logits[0, :-1]
        return float(torch.nn.functional.cross_entropy(logits, labels[1:], ignore_index=-100, reduction="sum"))

    for dtype, relative in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        model = model.to(dtype)
        for sample in samples:
            numbers = sample["document_ids"]
            with torch.no_grad():
                alone = sum(summed(sample["input_ids"][numbers == of], sample["labels"][numbers == of]) for of in numbers.unique())
                inputs = {"position_ids": sample["position_ids"][None]}
                if mask == "blocks":
                    inputs["attention_mask"] = torch.tril(numbers[:, None] == numbers[None, :])[None, None]
                assert summed(sample["input_ids"], sample["labels"], **inputs) == pytest.approx(alone, rel=relative)
