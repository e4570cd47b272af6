"""The torch datasets return the same as the arrays of `phyagi_assets.reading`."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phyagi_assets import datasets, reading
from phyagi_assets.formats.plan import Ancestor
from phyagi_assets.reading.position import position_of, state_at
from tests.order.plans import partitions, plan_of
from tests.reading.mixtures import SAMPLES, write_mixture


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixture(tmp_path_factory.mktemp("mixture"), plan_of(partitions(SAMPLES, splits=("train", "validation"))))


def assert_equal(tensors: dict[str, Any], arrays: dict[str, Any]) -> None:
    assert tensors.keys() == arrays.keys()
    assert tensors["corpus"] == arrays["corpus"]
    for name in arrays.keys() - {"corpus"}:
        assert torch.equal(tensors[name], torch.from_numpy(arrays[name])), name
        assert arrays[name].dtype == np.int64


@pytest.mark.parametrize("shift_labels", [False, True])
@pytest.mark.parametrize("mask_boundaries", [False, True])
@pytest.mark.parametrize("boundaries", [False, True])
def test_batches_are_equal(home: Path, shift_labels: bool, mask_boundaries: bool, boundaries: bool) -> None:
    options = {"shift_labels": shift_labels, "mask_boundaries": mask_boundaries, "boundaries": boundaries}
    tensors, arrays = datasets.load_mixture(home, **options), reading.load_mixture(home, **options)
    positions = np.random.default_rng(0).integers(0, 200, 50)
    assert_equal(tensors.train.batch(positions), arrays.train.batch(positions))
    for name, dataset in tensors.validation_by_corpus.items():
        assert_equal(dataset.batch(np.arange(len(dataset))), arrays.validation_by_corpus[name].batch(np.arange(len(dataset))))


def test_positions_are_integers_of_any_form(home: Path) -> None:
    train = datasets.load_mixture(home).train
    wanted: Any = train.batch(np.array([3, 170]))
    given: list[Any] = [[3, 170], (3, 170), torch.tensor([3, 170]), np.array([3, 170], np.uint64), np.array([3, 170], np.int16)]
    for positions in given:
        found = train.batch(positions)
        assert all(torch.equal(found[name], wanted[name]) for name in wanted.keys() - {"corpus"})
    refused: list[Any] = [[1.0], [[1]], ["1"], [True], 3]
    for positions in refused:
        with pytest.raises(TypeError, match=r"positions: is an array of .*; give a 1-D array of integers"):
            train.batch(positions)
    with pytest.raises(IndexError, match="position -1 does not exist"):
        train.batch([2, -1])  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch_size", "world_size"), [(1, 1), (4, 3), (50, 2)])
def test_loaders_read_the_same_and_resume_each_other(home: Path, batch_size: int, world_size: int) -> None:
    for rank in range(world_size):
        options = {"batch_size": batch_size, "rank": rank, "world_size": world_size}
        of_torch = datasets.MixtureLoader(datasets.load_mixture(home).train, **options)
        of_numpy = reading.MixtureLoader(reading.load_mixture(home).train, **options)
        assert len(of_torch) == len(of_numpy)
        for tensors, arrays in zip(of_torch, of_numpy, strict=True):
            assert_equal(tensors, arrays)
            assert of_torch.state_dict() == of_numpy.state_dict()
        for tensors, arrays in islice(zip(of_torch, of_numpy, strict=True), 3):
            assert_equal(tensors, arrays)
        again = reading.MixtureLoader(reading.load_mixture(home).train, **options)
        again.load_state_dict(of_torch.state_dict())
        of_torch.load_state_dict(of_numpy.state_dict())
        assert_equal(next(iter(of_torch)), next(iter(again)))


def test_state_names_its_split_and_is_refused_by_another(home: Path) -> None:
    kinds = [
        (datasets.load_mixture(home), datasets.MixtureLoader, datasets.MixtureStream),
        (reading.load_mixture(home), reading.MixtureLoader),
    ]
    for mixture, *readers in kinds:
        for reader in readers:
            states = {}
            for split in ("train", "validation"):
                of = reader(getattr(mixture, split), batch_size=2)
                next(iter(of))
                states[split] = of.state_dict()
                assert states[split]["split"] == split
            for saved, other in (("train", "validation"), ("validation", "train")):
                loaded = reader(getattr(mixture, other), batch_size=2)
                with pytest.raises(ValueError, match=rf"split: the state is from '{saved}' of mixture 'mix', and is loaded .* '{other}'"):
                    loaded.load_state_dict(states[saved])
                loaded.load_state_dict({name: value for name, value in states[saved].items() if name != "split"})  # of an earlier release
                assert loaded.position == states[saved]["position"]


def test_reader_of_another_object_than_a_split_is_refused(home: Path) -> None:
    mixture: Any = datasets.load_mixture(home)
    for reader in (datasets.MixtureLoader, datasets.MixtureStream, reading.MixtureLoader):
        with pytest.raises(TypeError, match=r"is of type LoadedMixture; give a split of a mixture, such as mixture\.train"):
            reader(mixture, batch_size=4)
        with pytest.raises(TypeError, match="is None, which stands for a split without documents"):
            reader(mixture.test, batch_size=4)


def test_state_inside_a_run_of_one_of_several_ranks_is_refused_by_loaders(home: Path) -> None:
    stream = datasets.MixtureStream(datasets.load_mixture(home).train, batch_size=4, samples=True, rank=1, world_size=2)
    next(iter(stream))
    loaders: list[Any] = [
        datasets.MixtureLoader(datasets.load_mixture(home).train, batch_size=4),
        reading.MixtureLoader(reading.load_mixture(home).train, batch_size=4),
    ]
    for loader in loaders:
        with pytest.raises(ValueError, match="samples=True"):
            loader.load_state_dict(stream.state_dict())
        assert loader.position == 0


def test_state_of_another_set_of_corpora_is_refused(home: Path) -> None:
    mixture = reading.load_mixture(home)
    of_corpora, of_all = mixture.validation_by_corpus, mixture.validation
    (one, of_one), (other, of_other) = list(of_corpora.items())[:2]

    def state(samples: Any) -> dict[str, Any]:
        return reading.MixtureLoader(samples, batch_size=1).state_dict()

    for saved, read, said in (
        (of_one, of_other, f"{one}'.* of the corpus '{other}'"),
        (of_all, of_one, "several corpora.*"),
        (of_one, of_all, one),
    ):
        loader = reading.MixtureLoader(read, batch_size=1)
        with pytest.raises(ValueError, match=f"corpus: the state is from the validation samples of .*{said}"):
            loader.load_state_dict(state(saved))
        loader.load_state_dict({name: value for name, value in state(saved).items() if name != "corpus"})  # of an earlier release
        loader.load_state_dict(state(read))


def test_state_of_a_split_resumes_with_a_plan_that_continues_its_own_with_further_corpora(home: Path) -> None:
    plan = reading.load_mixture(home).plan
    state = {**state_at(plan, "validation", 3), "corpus": plan.corpora[0].name}  # when it had only that corpus
    later = replace(plan, fingerprint="later", ancestors=(Ancestor(fingerprint=plan.fingerprint, agrees_until=9),))
    assert position_of(state, later, "validation") == 3
    with pytest.raises(ValueError, match="corpus: the state is from"):
        position_of(state, plan, "validation")


def test_pass_over_a_split_that_was_left_early_is_followed_by_a_whole_one(home: Path) -> None:
    tensors, arrays = datasets.load_mixture(home).validation, reading.load_mixture(home).validation
    readers: list[Callable[[], Any]] = [
        lambda: datasets.MixtureLoader(tensors, batch_size=4),
        lambda: datasets.MixtureLoader(tensors, batch_size=4, num_workers=1),
        lambda: datasets.MixtureStream(tensors, batch_size=4),
        lambda: datasets.MixtureStream(tensors, batch_size=4, samples=True),
        lambda: reading.MixtureLoader(arrays, batch_size=4),
    ]
    whole = list(range(41))

    def read(reader: Any, count: int | None = None) -> list[int]:
        return [p for one in islice(reader, count) for p in np.atleast_1d(one["position"]).tolist()]

    for make in readers:
        reader = make()
        begun = read(reader, 2)
        state = reader.state_dict()
        assert len(reader) == len(make())
        iter(reader)
        assert read(reader) == whole
        assert read(reader, 1)[0] == 0
        resumed = make()
        resumed.load_state_dict(state)
        iter(resumed)  # some trainers begin an iteration only to see whether they can
        assert begun + read(resumed) == whole
        assert read(resumed) == whole
