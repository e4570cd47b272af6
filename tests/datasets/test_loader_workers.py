"""Mixtures with the loaders of torch: loader workers see new epochs, and a state is restored exactly or raises an error."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import pytest
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import LoadedMixture, MixtureLoader, MixtureStream, load_mixture
from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.order.planning import extended
from tests.datasets.mixtures import mixture_of
from tests.order.plans import partitions
from tests.reading.mixtures import write_mixture

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> LoadedMixture:
    """A mixture of 41 training samples and 5 validation samples."""
    return mixture_of(tmp_path_factory.mktemp("mixture"))


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> LoadedMixture:
    """A mixture whose second segment begins at position 20, so its first epoch has a different length."""
    folder = tmp_path_factory.mktemp("segmented")
    first = mixture_of(folder / "first")
    plan = extended(first.plan, "later", 20, [MixturePart(corpus="one", weight=2.0)], partitions({"one": {"a": 14, "b": 9, "c": 5}}))
    return load_mixture(write_mixture(folder / "later", plan))


def positions(batches: Iterable[dict[str, Any]]) -> list[int]:
    return [int(position) for batch in batches for position in batch["position"].reshape(-1)]


@pytest.mark.parametrize("persistent", [False, True])
def test_epochs_of_a_map_style_mixture_reach_loader_workers(segmented: LoadedMixture, persistent: bool) -> None:
    train = segmented.train
    loader = DataLoader(train, batch_size=8, num_workers=1, persistent_workers=persistent)
    first, later = train.epochs.first, train.epochs.later
    assert first != later
    for epoch, begin, length in ((0, 0, first), (1, first, later), (2, first + later, later)):
        train.set_epoch(epoch)
        read = positions(loader)
        assert read == list(range(begin, begin + length))
        assert len(train) == length
        stream = MixtureStream(train, batch_size=1)
        stream.set_epoch(epoch)
        assert positions(stream) == read
    train.set_epoch(0)
    with pytest.raises(ValueError, match="epoch: is -1"):
        train.set_epoch(-1)


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
def test_stream_reads_each_epoch_from_its_start_with_and_without_persistent_workers(
    mixture: LoadedMixture, workers: int, persistent: bool
) -> None:
    stream = MixtureStream(mixture.train, batch_size=4)
    loader = DataLoader(stream, batch_size=None, num_workers=workers, persistent_workers=persistent)
    for epoch, begin, end in ((0, 0, 44), (1, 44, 84), (3, 124, 164)):
        stream.set_epoch(epoch)
        assert positions(loader) == list(range(begin, end))
    stream.load_state_dict({"position": 200, "plan": mixture.plan.fingerprint})
    stream.set_epoch(0)  # trainers count epochs anew
    assert positions(loader) == list(range(200, 208))


@pytest.mark.parametrize("workers", [0, 1])
def test_set_epoch_refuses_to_skip_samples_after_a_set_position(mixture: LoadedMixture, workers: int) -> None:
    given, moved, resumed = (MixtureStream(mixture.train, batch_size=4, position=at) for at in (20, 0, 0))
    moved.position = 20
    resumed.load_state_dict(given.state_dict())
    for stream in (given, moved, resumed):
        with pytest.raises(ValueError, match="epoch: is 1, which begins at position 44, but the stream is set to continue at position 20"):
            stream.set_epoch(1)
        loader = DataLoader(stream, batch_size=None, num_workers=workers)
        for epoch, begin, end in ((0, 20, 44), (1, 44, 84), (3, 124, 164)):
            stream.set_epoch(epoch)
            assert positions(loader) == list(range(begin, end))


def test_epochs_counted_from_0_do_not_repeat_samples_after_a_set_position(mixture: LoadedMixture) -> None:
    stream = MixtureStream(mixture.train, batch_size=4, position=50)
    loader = DataLoader(stream, batch_size=None, num_workers=1)
    stream.set_epoch(0)
    assert positions(loader) == list(range(50, 82))
    stream.set_epoch(1)
    with pytest.raises(ValueError, match=r"have read the mixture from position 50 before.* call set_epoch\(2\)"):
        next(iter(loader))
    stream.set_epoch(2)
    assert positions(loader) == list(range(82, 126))


def test_stream_in_a_dataset_that_loader_workers_divide_is_refused(mixture: LoadedMixture) -> None:
    def read(stream: MixtureStream) -> Iterator[Any]:
        yield from stream

    stream = MixtureStream(mixture.train, batch_size=4, samples=True)
    wrapped = datasets.IterableDataset.from_generator(read, gen_kwargs={"stream": stream})
    assert positions(DataLoader(wrapped, batch_size=4, num_workers=1)) == list(range(44))
    with pytest.raises(ValueError, match=r"num_workers: both a datasets\.IterableDataset and this stream would divide the samples"):
        positions(DataLoader(wrapped, batch_size=4, num_workers=2))


def test_second_iteration_by_loader_workers_raises_until_an_epoch_is_set(mixture: LoadedMixture) -> None:
    stream = MixtureStream(mixture.train, batch_size=4)
    for persistent in (False, True):
        stream.set_epoch(0)
        loader = DataLoader(stream, batch_size=None, num_workers=1, persistent_workers=persistent)
        next(iter(loader))
        with pytest.raises(ValueError, match=r"have read the mixture from position 0 before.* call set_epoch\(1\)"):
            next(iter(loader))
        stream.set_epoch(0)
        assert positions(islice(DataLoader(stream, batch_size=None, num_workers=1), 2)) == list(range(8))


def test_state_in_a_training_process_raises_while_loader_workers_read(mixture: LoadedMixture) -> None:
    stream = MixtureStream(mixture.train, batch_size=4)
    before = stream.state_dict()
    next(iter(DataLoader(stream, batch_size=None, num_workers=1)))
    with pytest.raises(ValueError, match="only their loader knows how much of it was delivered"):
        stream.state_dict()
    stream.load_state_dict(before)
    assert stream.state_dict()["position"] == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_loader_of_another_batch_size_keeps_the_order_or_raises(mixture: LoadedMixture, workers: int) -> None:
    stream = MixtureStream(mixture.train, batch_size=4, samples=True)
    loader = DataLoader(stream, batch_size=3, num_workers=workers)
    if workers == 1:
        assert positions(loader) == list(range(44))
    else:
        with pytest.raises(ValueError, match="batch_size: the loader has 3 and the stream has 4"):
            next(iter(loader))
        same = MixtureStream(mixture.train, batch_size=4, samples=True)
        assert positions(DataLoader(same, batch_size=4, num_workers=workers)) == list(range(44))


@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize("workers", [0, 1])
def test_loader_that_would_stack_batches_is_refused(mixture: LoadedMixture, loader: Any, workers: int) -> None:
    for batch_size in (1, 4):
        stacked = loader(MixtureStream(mixture.train, batch_size=4), batch_size=batch_size, num_workers=workers)
        with pytest.raises(ValueError, match="batch_size: the stream yields whole batches, and the loader would stack them"):
            next(iter(stacked))
    collated = loader(MixtureStream(mixture.train, batch_size=4), batch_size=None, num_workers=workers, collate_fn=lambda batch: [batch])
    assert positions(batch for (batch,) in collated) == list(range(44))


def test_mixture_loader_given_as_a_dataset_is_refused(mixture: LoadedMixture) -> None:
    with pytest.raises(TypeError, match="a MixtureLoader is a loader and not a dataset; for a Trainer or a DataLoader, use MixtureStream"):
        next(iter(DataLoader(MixtureLoader(mixture.train, batch_size=4), batch_size=4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(("workers", "batch_size", "samples"), [(0, 3, True), (1, 3, True), (2, 4, True), (2, None, False)])
def test_stateful_loader_resumes_exactly(mixture: LoadedMixture, workers: int, batch_size: int | None, samples: bool) -> None:
    def loader() -> Any:
        stream = MixtureStream(mixture.train, batch_size=4, samples=samples)
        return StatefulDataLoader(stream, batch_size=batch_size, num_workers=workers)

    for taken in (1, 3):
        before, after = loader(), loader()
        read = positions(islice(before, taken))
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        read += positions(after)
        assert read == list(range(len(read)))
        assert 41 <= len(read) <= 44


def test_stateful_loader_resumes_after_an_epoch_with_a_short_last_batch(mixture: LoadedMixture) -> None:
    def loader() -> Any:
        return StatefulDataLoader(MixtureStream(mixture.train, batch_size=4, samples=True), batch_size=3, num_workers=1)

    before, after = loader(), loader()
    assert positions(before) == list(range(44))
    after.load_state_dict(before.state_dict())
    after.dataset.set_epoch(1)
    assert positions(after) == list(range(44, 84))


@pytest.mark.parametrize(("workers", "persistent"), [(1, False), (2, True)])
def test_stateful_loader_resumes_after_an_epoch_from_a_snapshot_before_its_end(
    mixture: LoadedMixture, workers: int, persistent: bool
) -> None:
    def loader() -> Any:
        stream = MixtureStream(mixture.train, batch_size=4)
        options: dict[str, Any] = {"num_workers": workers, "persistent_workers": persistent, "snapshot_every_n_steps": 3}
        return StatefulDataLoader(stream, batch_size=None, **options)

    before, after = loader(), loader()
    assert positions(before) == list(range(44))
    after.dataset.set_epoch(0)
    after.load_state_dict(before.state_dict())
    for epoch, begin, end in ((1, 44, 84), (2, 84, 124)):
        after.dataset.set_epoch(epoch)
        assert positions(after) == list(range(begin, end))
    with pytest.raises(ValueError, match=r"have read the mixture from position 84 before.* call set_epoch\(3\)"):
        positions(after)


def test_state_inside_a_run_resumes_exactly_on_every_rank_and_not_by_whole_batches(mixture: LoadedMixture) -> None:
    def stream(samples: bool = True) -> MixtureStream:
        return MixtureStream(mixture.train, batch_size=4, samples=samples, rank=1, world_size=2)

    before, after = stream(), stream()
    whole, taken = positions(stream()), positions(islice(before, 6))
    after.load_state_dict(before.state_dict())
    assert taken + positions(after) == whole
    with pytest.raises(ValueError, match="samples: the state is 2 samples into a run"):
        stream(samples=False).load_state_dict({**before.state_dict(), "position": 8})


@pytest.mark.parametrize(("batch_size", "world_size"), [(2, 2), (4, 3)])
@pytest.mark.parametrize("workers", [0, 2])
def test_stateful_loader_of_another_shape_resumes_exactly_or_raises(
    mixture: LoadedMixture, workers: int, batch_size: int, world_size: int
) -> None:
    def loader(batch_size: int, rank: int, world_size: int) -> Any:
        stream = MixtureStream(mixture.train, batch_size=batch_size, rank=rank, world_size=world_size)
        return StatefulDataLoader(stream, batch_size=None, num_workers=workers)

    before = loader(4, 0, 2)
    for _ in islice(before, 2):
        pass
    state = before.state_dict()
    if workers:
        after = loader(batch_size, 0, world_size)
        after.load_state_dict(state)
        with pytest.raises(ValueError, match=r"(batch_size|world_size): the state was saved with \d and is resumed with \d"):
            next(iter(after))
    else:
        read = []
        for rank in range(world_size):
            after = loader(batch_size, rank, world_size)
            after.load_state_dict(state)
            read += positions(islice(after, 1))
        assert read == list(range(16, 16 + batch_size * world_size))


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("samples", [False, True])
def test_every_loader_reads_a_validation_split_once_per_pass(tmp_path: Path, workers: int, samples: bool) -> None:
    validation = mixture_of(tmp_path, {"one": {"a": 3, "b": 2}, "two": {"a": 4}}, splits=("train", "validation")).validation
    assert validation is not None
    stream = MixtureStream(validation, batch_size=2, samples=samples)
    batch_size = 2 if samples else None
    for kind in (DataLoader, StatefulDataLoader):
        loader = kind(stream, batch_size=batch_size, num_workers=workers, persistent_workers=workers == 1)
        assert len(loader) == 5
        for _ in range(3 if workers < 2 else 2):
            assert positions(loader) == list(range(9))
    validation.set_epoch(3)
    assert [int(sample["position"]) for sample in validation] == list(range(9))


def test_accelerate_divides_the_samples_of_loader_workers_in_order_or_raises(mixture: LoadedMixture) -> None:
    from accelerate.data_loader import prepare_data_loader

    def read(batch_size: int, workers: int) -> list[int]:
        ranks = []
        for rank in range(2):
            stream = MixtureStream(mixture.train, batch_size=batch_size, samples=True, rank=0, world_size=1)
            loader = DataLoader(stream, batch_size=4, num_workers=workers)
            shard: dict[str, Any] = {"num_processes": 2, "process_index": rank, "dispatch_batches": False}
            ranks.append([batch["position"].tolist() for batch in prepare_data_loader(loader, **shard)])
        return [position for step in zip(*ranks, strict=True) for batch in step for position in batch]

    assert read(8, 2)[:41] == list(range(41))
    with pytest.raises(ValueError, match=r"the loader has 8 and the stream has 4; .* that of all processes"):
        read(4, 2)
