"""Law 4: one integer, the position, restores a run, for any number of processes, workers and samples per batch."""

import pickle
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.datasets import LoadedMixture, MixedDataset, MixtureLoader, MixtureStream, load_mixture
from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Plan
from phyagi_assets.order.planning import extended
from tests.datasets.mixtures import mixture_of
from tests.datasets.processes import in_processes
from tests.forks import FORKS
from tests.order.plans import partitions
from tests.reading.mixtures import SAMPLES, write_mixture

Read = list[tuple[int, list[int]]]
"""Read positions of a mixture and their tokens."""


def read_of(batch: dict[str, Any]) -> Read:
    return list(zip(batch["position"].tolist(), batch["input_ids"].tolist(), strict=True))


def uninterrupted(mixture: LoadedMixture, start: int, stop: int) -> Read:
    return read_of(mixture.train.batch(np.arange(start, stop)))


def epoch_after_epoch(loader: MixtureLoader) -> Iterator[dict[str, Any]]:
    while True:
        yield from loader


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> LoadedMixture:
    return mixture_of(tmp_path_factory.mktemp("mixture"))


def _as_rank(home: Path, state: dict[str, Any] | None, workers: int, batch_size: int, steps: int, _rank: int) -> Any:
    loader = MixtureLoader(load_mixture(home).train, batch_size=batch_size, num_workers=workers)
    if state:
        loader.load_state_dict(state)
    read = [read_of(batch) for batch in islice(epoch_after_epoch(loader), steps)]
    return [read, loader.state_dict()]


RUNS = [
    # (processes, workers, batch size, steps) from one restart to the next; an epoch has 41 samples
    [(2, 2, 3, 5), (3, 0, 2, 4), (1, 1, 60, 1), (2, 1, 1, 3)],
    [(2, 2, 3, 5), (3, 0, 2, 4), (1, 1, 5, 7), (4, 1, 1, 3)],
    [(1, 3, 4, 11), (4, 2, 3, 4), (2, 0, 7, 1)],
    [(3, 1, 1, 1), (2, 3, 16, 3), (1, 0, 1, 9), (3, 2, 2, 8)],
]


@pytest.mark.parametrize("run", RUNS)
def test_restarted_processes_together_read_the_uninterrupted_order(
    mixture: LoadedMixture, tmp_path: Path, run: list[tuple[int, int, int, int]], pytestconfig: pytest.Config
) -> None:
    if run is not RUNS[0] and not pytestconfig.getoption("soak"):
        pytest.skip("starts a dozen processes; --soak does it")
    state, position = None, 0
    for processes, workers, batch_size, steps in run:
        do = partial(_as_rank, mixture.home, state, workers, batch_size, steps)
        reads, states = zip(*in_processes(tmp_path, processes, do), strict=True)
        assert [len(read) for read in reads] == [steps] * processes
        together = [tuple(sample) for step in zip(*reads, strict=True) for batch in step for sample in batch]
        following = position + processes * batch_size * steps
        assert together == uninterrupted(mixture, position, following)
        state, position = states[0], following
        assert all(of == {"position": position, "plan": "first", "mixture": "mix", "split": "train"} for of in states)


PHASES = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(0, 12)), min_size=1, max_size=6)


@given(phases=PHASES, endless=st.booleans())
def test_changing_the_number_of_ranks_neither_loses_nor_repeats_samples(mixture: LoadedMixture, phases: Any, endless: bool) -> None:
    state, position = None, 0
    for world_size, batch_size, steps in phases:
        loaders = [
            MixtureLoader(mixture.train, batch_size=batch_size, rank=rank, world_size=world_size, endless=endless)
            for rank in range(world_size)
        ]
        for loader in loaders:
            loader.load_state_dict(state or loader.state_dict())
        together = [
            sample
            for step in islice(zip(*map(epoch_after_epoch, loaders), strict=True), steps)
            for batch in step
            for sample in read_of(batch)
        ]
        following = position + world_size * batch_size * steps
        assert together == uninterrupted(mixture, position, following)
        position, states = following, [loader.state_dict() for loader in loaders]
        assert all(of == states[0] for of in states)
        state = pickle.loads(pickle.dumps(states[0]))
        assert state["position"] == position


@pytest.mark.parametrize("batch_size", [1, 6, 41, 60])
def test_iteration_ends_with_an_epoch_and_the_next_one_continues(mixture: LoadedMixture, batch_size: int) -> None:
    loader, begin = MixtureLoader(mixture.train, batch_size=batch_size), 0
    for _ in range(4):
        expected, said = (begin // 41 + 1) * 41, len(loader)
        read = [sample for batch in loader for sample in read_of(batch)]
        assert len(read) == said * batch_size
        assert begin + len(read) - batch_size < expected <= begin + len(read)
        assert read == uninterrupted(mixture, begin, begin + len(read))
        begin += len(read)


def test_abandoned_iteration_continues_from_the_same_position(mixture: LoadedMixture) -> None:
    for workers in (0, 2):
        loader = MixtureLoader(mixture.train, batch_size=5, num_workers=workers)
        first = [sample for batch in islice(loader, 4) for sample in read_of(batch)]
        assert len(loader) == 5
        rest = [sample for batch in loader for sample in read_of(batch)]
        assert first + rest == uninterrupted(mixture, 0, 45)


@pytest.mark.parametrize("options", [{"num_workers": 3}, {"num_workers": 2, "prefetch_factor": 5}, {"pin_memory": False}])
def test_order_does_not_depend_on_the_number_of_workers(mixture: LoadedMixture, options: dict[str, Any]) -> None:
    plain, other = (MixtureLoader(mixture.train, batch_size=4, **of) for of in ({}, options))
    for batch, same in islice(zip(epoch_after_epoch(plain), epoch_after_epoch(other), strict=True), 25):
        assert batch.keys() == same.keys()
        assert batch["corpus"] == same["corpus"]
        for name in batch.keys() - {"corpus"}:
            assert torch.equal(batch[name], same[name])
        assert plain.state_dict() == other.state_dict()


def test_workers_that_are_not_forked_from_this_process_read_the_same_as_forked_ones(
    mixture: LoadedMixture, pytestconfig: pytest.Config
) -> None:
    """An interpreter of its own imports torch, which takes seconds; only ``--soak`` starts one."""
    context = "spawn" if pytestconfig.getoption("soak") else FORKS
    loader = MixtureLoader(mixture.train, batch_size=8, num_workers=1, rank=1, world_size=2, multiprocessing_context=context)
    assert [batch["position"].tolist() for batch in loader] == [list(range(start + 8, start + 16)) for start in (0, 16, 32)]


def test_endless_loader_has_no_length_and_no_end(mixture: LoadedMixture) -> None:
    loader = MixtureLoader(mixture.train, batch_size=10, endless=True)
    read = [sample for batch in islice(loader, 30) for sample in read_of(batch)]
    assert read == uninterrupted(mixture, 0, 300)
    with pytest.raises(TypeError, match="an endless stream has no length"):
        len(loader)


def test_loader_refuses_skip_first_batches_with_a_remedy(mixture: LoadedMixture) -> None:
    from accelerate import skip_first_batches

    loader = MixtureLoader(mixture.train, batch_size=4)
    with pytest.raises(AttributeError, match=r"cannot skip its batches; load a state, or add batches \* batch_size"):
        skip_first_batches(loader, 2)


@pytest.mark.parametrize("workers", [0, 1])
def test_length_counts_batches_before_a_set_position_until_the_iteration_begins(mixture: LoadedMixture, workers: int) -> None:
    loader, begin = MixtureLoader(mixture.train, batch_size=4, num_workers=workers), 0
    for batches in (11, 10):
        assert len(list(islice(loader, 3))) == 3
        resumed, placed = (MixtureLoader(mixture.train, batch_size=4, position=at) for at in (0, begin + 12))
        resumed.load_state_dict(loader.state_dict())
        assert (len(resumed), len(placed), len(loader)) == (batches, batches, batches - 3)
        reading = iter(resumed)
        assert len(resumed) == batches
        assert next(reading)["position"].tolist() == list(range(begin + 12, begin + 16))
        assert (len(resumed), len(list(placed)), len(list(loader))) == (batches - 4, batches - 3, batches - 3)
        begin += 4 * batches


def test_length_of_samples_counts_those_before_a_state(mixture: LoadedMixture) -> None:
    stream, resumed = (MixtureStream(mixture.train, batch_size=4, samples=True) for _ in range(2))
    assert len(list(islice(stream, 6))) == 6
    resumed.load_state_dict(stream.state_dict())
    assert (len(resumed), len(stream), len(list(resumed))) == (42, 38, 36)


def test_setting_a_position_restarts_the_count_of_steps(mixture: LoadedMixture) -> None:
    loader = MixtureStream(mixture.train, batch_size=4, position=10)
    loader.position = 0
    loader.set_epoch(0)
    assert loader.position == 0


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> MixedDataset:
    """A validation split of 9 samples."""
    split = mixture_of(tmp_path_factory.mktemp("mixture"), {"one": {"a": 3, "b": 2}, "two": {"a": 4}}, splits=("train", "validation"))
    assert split.validation is not None
    return split.validation


SHAPES = [(4, 1), (16, 2), (2, 4), (9, 1), (20, 1), (2, 2), (1, 3)]


@pytest.mark.parametrize(("batch_size", "world_size", "workers"), [*((*of, 0) for of in SHAPES), *((*of, 2) for of in SHAPES[:3])])
def test_validation_pass_reads_the_whole_split_in_order(evaluated: MixedDataset, batch_size: int, world_size: int, workers: int) -> None:
    whole = [sample["input_ids"].tolist() for sample in evaluated]
    loaders = [
        MixtureLoader(evaluated, batch_size=batch_size, num_workers=workers * (rank == 0), rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for _ in range(2 if workers else 3):
        ranks = [[read_of(batch) for batch in loader] for loader in loaders]
        assert {len(batches) for batches in ranks} == {len(loader) for loader in loaders}
        read = [sample for step in zip(*ranks, strict=True) for batch in step for sample in batch]
        assert len(read) - len(whole) == -len(whole) % world_size  # the padding is below a sample per rank
        assert read == [(position, whole[position % 9]) for position in range(len(read))]
    assert all(loader.state_dict()["position"] == 0 for loader in loaders)


def test_validation_pass_resumes_and_the_next_pass_is_complete(evaluated: MixedDataset) -> None:
    first, second = (MixtureLoader(evaluated, batch_size=size) for size in (4, 3))
    next(iter(first))
    second.load_state_dict(first.state_dict())
    assert [[batch["position"].tolist() for batch in second] for _ in range(2)] == [[[4, 5, 6], [7, 8]], [[0, 1, 2], [3, 4, 5], [6, 7, 8]]]
    beyond = MixtureLoader(evaluated, batch_size=5)
    beyond.load_state_dict({**first.state_dict(), "position": 12})  # the last step of earlier releases went beyond the end
    assert [batch["position"].tolist() for batch in beyond] == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]


def test_short_last_batch_is_dropped_on_request(evaluated: MixedDataset, mixture: LoadedMixture) -> None:
    loader = MixtureLoader(evaluated, batch_size=4, drop_last=True)
    assert (
        [batch["position"].tolist() for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7]] == [batch["position"].tolist() for batch in loader]
    )
    assert len(loader) == 2
    assert len(list(MixtureLoader(mixture.train, batch_size=20, drop_last=True))) == 3  # training batches are never short


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_are_collated_by_the_given_function(mixture: LoadedMixture, workers: int) -> None:
    loader = MixtureLoader(
        mixture.train, batch_size=4, num_workers=workers, collate_fn=lambda samples: [int(sample["position"]) for sample in samples]
    )
    assert next(iter(loader)) == [0, 1, 2, 3]
    assert loader.state_dict()["position"] == 4


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"shuffle": True}, "shuffle: the plan sets the order of a mixture, and shuffle=True would change it"),
        ({"sampler": [3, 1]}, "sampler: the plan sets the order"),
        ({"batch_sampler": [[3, 1]]}, "batch_sampler: the plan sets the order"),
        ({"in_order": False, "num_workers": 2}, "in_order: the plan sets the order"),
        ({"prefetch_factor": 2}, "prefetch_factor: 2 has no effect without worker processes"),
        ({"timeout": 3}, "timeout: 3 has no effect without worker processes"),
        ({"num_workers": -1}, "num_workers: is -1; use 0 or more"),
        ({"batchsize": 3}, "batchsize: is not an option of a MixtureLoader"),
    ],
)
def test_option_that_changes_the_order_or_has_no_effect_raises(mixture: LoadedMixture, options: Any, refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        MixtureLoader(mixture.train, batch_size=4, **options)
    MixtureLoader(mixture.train, batch_size=4, shuffle=False, sampler=None, persistent_workers=False)


def test_split_stream_and_loader_of_a_mixture_have_the_length_of_its_samples(mixture: LoadedMixture) -> None:
    readers = [mixture.train, MixtureStream(mixture.train, batch_size=2), MixtureLoader(mixture.train, batch_size=2)]
    assert [reader.seq_len for reader in readers] == [mixture.plan.seq_len] * 3
    assert mixture.train[0]["input_ids"].shape == (mixture.plan.seq_len,)


def test_length_and_state_change_nothing(mixture: LoadedMixture) -> None:
    loader = MixtureLoader(mixture.train, batch_size=5)
    reading = iter(loader)
    read = []
    for batch in reading:
        state = loader.state_dict()
        len(loader)
        assert loader.state_dict() == state
        read += read_of(batch)
    assert read == uninterrupted(mixture, 0, 45)


def _extended(plan: Plan, start: int, fingerprint: str) -> Plan:
    return extended(plan, fingerprint, start, [MixturePart(corpus="one", weight=2.0)], partitions({"one": {"a": 14, "b": 9, "c": 5}}))


def test_state_of_an_earlier_plan_is_accepted_only_by_plans_with_the_same_order(mixture: LoadedMixture, tmp_path: Path) -> None:
    later = load_mixture(write_mixture(tmp_path / "later", _extended(mixture.plan, 20, "later")))
    last = load_mixture(write_mixture(tmp_path / "last", _extended(later.plan, 50, "last")))
    loader = MixtureLoader(mixture.train, batch_size=4)
    for position in (0, 16, 20):
        for plan in (later, last):
            resumed = MixtureLoader(plan.train, batch_size=2)
            resumed.load_state_dict({**loader.state_dict(), "position": position})
            assert next(iter(resumed))["position"].tolist() == [position, position + 1]
    MixtureLoader(last.train, batch_size=4).load_state_dict({**MixtureLoader(later.train, batch_size=1).state_dict(), "position": 50})
    stale, other = {**loader.state_dict(), "position": 21}, mixture_of(tmp_path / "other", seed=1, fingerprint="other")
    for plan, state in [(later, stale), (last, stale), (mixture, MixtureLoader(later.train, batch_size=1).state_dict())]:
        with pytest.raises(
            ValueError, match=rf"from plan {state['plan']} of mixture 'mix' at position {state['position']}, but this is plan"
        ):
            MixtureLoader(plan.train, batch_size=4).load_state_dict(state)
    with pytest.raises(ValueError, match="which has another order up to that position; open the plan of the state"):
        MixtureLoader(other.train, batch_size=4).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("state", [{}, {"position": 3}, {"plan": "first"}, {"plan": "first", "position": "here"}, None])
def test_invalid_state_raises(mixture: LoadedMixture, state: Any) -> None:
    with pytest.raises(ValueError, match="not a state of a mixture"):
        MixtureLoader(mixture.train, batch_size=4).load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "refusal"),
    [
        ({"batch_size": 0}, "batch_size: is 0; use 1 or more"),
        ({"batch_size": 1, "position": -1}, "position: is -1; use 0 or more"),
        ({"batch_size": 1, "rank": 0}, "only one is given"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "rank: is 2 with world_size 2"),
    ],
)
def test_number_out_of_range_raises(mixture: LoadedMixture, arguments: dict[str, Any], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        MixtureLoader(mixture.train, **arguments)


def test_option_that_is_not_a_boolean_raises(mixture: LoadedMixture) -> None:
    for name in ("endless", "drop_last"):
        with pytest.raises(TypeError, match=f"{name}: is 'False'; use True or False"):
            MixtureLoader(mixture.train, batch_size=1, **{name: "False"})
    for wrong in ({"shift_labels": 2}, {"mask_boundaries": "False"}, {"boundaries": None}):
        with pytest.raises(TypeError, match=r": is .*; use True or False"):
            MixedDataset(mixture.plan, mixture.home, **wrong)


@pytest.mark.parametrize("name", ["batch_size", "position", "num_workers", "rank", "world_size"])
@pytest.mark.parametrize("wrong", [1.0, "1", [1], False])
def test_number_that_is_not_an_integer_raises(mixture: LoadedMixture, name: str, wrong: Any) -> None:
    arguments = {"batch_size": 1, "rank": 0, "world_size": 1, name: wrong}
    with pytest.raises(TypeError, match=f"{name}: is .*; use an integer"):
        MixtureLoader(mixture.train, **arguments)


@pytest.mark.parametrize("wrong", [-1, 1.5, "1", None])
def test_invalid_position_and_epoch_are_refused_by_all_setters(mixture: LoadedMixture, wrong: Any) -> None:
    stream, split = MixtureStream(mixture.train, batch_size=1, position=3), mixture.train
    with pytest.raises((TypeError, ValueError), match="position: is "):
        stream.position = wrong
    with pytest.raises(ValueError, match="position: is "):
        stream.load_state_dict({**stream.state_dict(), "position": wrong})
    for each in (stream, split):
        with pytest.raises((TypeError, ValueError), match="epoch: is "):
            each.set_epoch(wrong)  # type: ignore[attr-defined]
    assert stream.position == 3


def test_mixture_of_these_tests_has_41_different_samples(mixture: LoadedMixture) -> None:
    assert len(mixture.train) == sum(sum(of.values()) for of in SAMPLES.values()) == 41
    assert len({str(tokens) for _, tokens in uninterrupted(mixture, 0, 41)}) == 41
