"""The table of docs/training.md: the combination of each row runs, and its verdicts on order and resume are true."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import LoadedMixture, MixtureLoader, MixtureStream, get_dataset, load_mixture
from tests.datasets.mixtures import mixture_of
from tests.datasets.processes import in_processes
from tests.datasets.test_loader_workers import positions
from tests.support import REPOSITORY

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning")

VERDICTS = ("exact", "refused", "no state")
Shown = tuple[set[str], set[str]]
"""Verdicts of running a combination: on order and epochs, and on resume."""


def rows_of_the_table() -> dict[str, tuple[set[str], set[str]]]:
    """Return the verdicts in the second and third cells of each row."""
    lines = (REPOSITORY / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| loader or trainer | order and epochs | resume |") + 2
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[start : lines.index("", start)]]
    order, resume = ([{verdict for verdict in VERDICTS if verdict in row[column]} for row in rows] for column in (1, 2))
    return {row[0]: verdicts for row, *verdicts in zip(rows, order, resume, strict=True)}  # type: ignore[misc]


def exact(read: Sequence[int], begin: int, end: int) -> str:
    """Return the verdict on positions that were read, if a whole range is expected in order."""
    return "exact" if list(read) == list(range(begin, end)) else f"reads {read} for {begin} to {end}"


def refused(message: str, do: Callable[[], Any]) -> str:
    """Return the verdict on a call that raises an error with a message."""
    with pytest.raises(ValueError, match=message):
        do()
    return "refused"


def together(readers: Iterable[Iterable[dict[str, Any]]], steps: int | None = None) -> list[int]:
    """The positions that ranks read, step by step."""
    return positions(batch for step in islice(zip(*readers, strict=True), steps) for batch in step)


def mixture_loader(mixture: LoadedMixture, _: Path) -> Shown:
    def ranks(world_size: int, **options: Any) -> list[MixtureLoader]:
        return [MixtureLoader(mixture.train, rank=rank, world_size=world_size, **options) for rank in range(world_size)]

    before = ranks(2, batch_size=4, num_workers=1)
    order = {exact(together(before), 0, 48), exact(together(before, 2), 48, 64)}
    resume = set()
    for world_size, options in ((3, {"batch_size": 2}), (1, {"batch_size": 5, "num_workers": 2})):
        after = ranks(world_size, **options)
        for loader in after:
            loader.load_state_dict(before[0].state_dict())
        resume.add(exact(together(after, 3), 64, 64 + 3 * world_size * options["batch_size"]))
    return order, resume


def stream_alone(mixture: LoadedMixture, _: Path) -> Shown:
    def ranks(world_size: int, batch_size: int = 4, **options: Any) -> list[MixtureStream]:
        return [
            MixtureStream(mixture.train, batch_size=batch_size, rank=rank, world_size=world_size, **options) for rank in range(world_size)
        ]

    before = ranks(2)
    order = {exact(together(before), 0, 48), exact(together(before, 1), 48, 56)}
    after = ranks(3, batch_size=2)
    for stream in after:
        stream.load_state_dict(before[0].state_dict())
    resume = {exact(together(after, 2), 56, 68)}
    inside, whole = ranks(2, samples=True)[0], positions(ranks(2, samples=True)[0])
    taken, same = positions(islice(inside, 6)), ranks(2, samples=True)[0]
    same.load_state_dict(inside.state_dict())
    assert taken + positions(same) == whole
    for other in (ranks(1, samples=True)[0], ranks(2, batch_size=3, samples=True)[0]):
        resume.add(refused("the state was saved with", partial(other.load_state_dict, inside.state_dict())))
    return order, resume


def loader_of_batches(mixture: LoadedMixture, _: Path) -> Shown:
    order, resume = set(), set()
    for persistent in (False, True):
        stream = MixtureStream(mixture.train, batch_size=4)
        loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=persistent)
        for epoch, begin, end in ((0, 0, 44), (1, 44, 84)):
            stream.set_epoch(epoch)
            order.add(exact(positions(loader), begin, end))
        order.add(refused(r"call set_epoch\(2\)", partial(positions, loader)))
        resume.add(refused("only their loader knows", stream.state_dict))
    return order, resume


def loader_of_samples(mixture: LoadedMixture, _: Path) -> Shown:
    def loader(batch_size: int, workers: int) -> Any:
        return DataLoader(MixtureStream(mixture.train, batch_size=4, samples=True), batch_size=batch_size, num_workers=workers)

    same = loader(4, 2)
    order = {exact(positions(same), 0, 44), exact(positions(loader(3, 1)), 0, 44)}
    order.add(refused("batch_size: the loader has 3 and the stream has 4", partial(positions, loader(3, 2))))
    return order, {refused("only their loader knows", same.dataset.state_dict)}


def stateful_loader(mixture: LoadedMixture, workers: int, *, batch_size: int = 4, rank: int = 0, world_size: int = 2) -> Any:
    stream = MixtureStream(mixture.train, batch_size=batch_size, rank=rank, world_size=world_size)
    return StatefulDataLoader(stream, batch_size=None, num_workers=workers)


def stateful_loader_without_workers(mixture: LoadedMixture, _: Path) -> Shown:
    ranks = [stateful_loader(mixture, 0, rank=rank) for rank in range(2)]
    order = {exact(together(ranks), 0, 48), exact(together(ranks), 48, 88)}
    before = stateful_loader(mixture, 0)
    positions(islice(before, 2))
    after = [stateful_loader(mixture, 0, batch_size=2, rank=rank, world_size=3) for rank in range(3)]
    for loader in after:
        loader.load_state_dict(before.state_dict())
    return order, {exact(together(after, 3), 16, 34)}


def stateful_loader_with_workers(mixture: LoadedMixture, _: Path) -> Shown:
    loader, resume = stateful_loader(mixture, 2, world_size=1), set()
    order = set()
    for epoch, begin, end in ((0, 0, 44), (1, 44, 84)):
        loader.dataset.set_epoch(epoch)
        order.add(exact(positions(loader), begin, end))
    ended = loader.state_dict()
    order.add(refused(r"call set_epoch\(2\)", partial(positions, loader)))
    resumed = stateful_loader(mixture, 2, world_size=1)
    resumed.load_state_dict(ended)
    resumed.dataset.set_epoch(2)
    assert exact(positions(resumed), 84, 124) == "exact"
    before = stateful_loader(mixture, 2, world_size=1)
    positions(islice(before, 3))
    state = json.loads(json.dumps(before.state_dict()))
    for options in ({}, {"batch_size": 2}, {"world_size": 2}, {"workers": 1}):
        after = stateful_loader(mixture, **{"workers": 2, "world_size": 1, **options})
        after.load_state_dict(state)
        resume.add(
            refused("the state was saved with|num_workers", partial(positions, after)) if options else exact(positions(after), 12, 44)
        )
    return order, resume


def map_style_loader(mixture: LoadedMixture, _: Path) -> Shown:
    train, order = mixture_of(mixture.home.parent / "of-its-own").train, set()
    loader = DataLoader(train, batch_size=8, num_workers=1, persistent_workers=True)
    for epoch in range(2):
        train.set_epoch(epoch)
        order.add(exact(positions(loader), 41 * epoch, 41 * (epoch + 1)))
    return order, {"no state"} if not hasattr(loader, "state_dict") and not hasattr(train, "state_dict") else set()


class Watched(torch.nn.Module):
    """A model that records the positions that it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.read: list[int] = []

    def forward(self, position: torch.Tensor, **_: Any) -> dict[str, torch.Tensor]:
        self.read += position.tolist()
        return {"loss": self.layer(position.float()[:, None]).mean()}


def trained(train: Any, folder: Path, *, checkpoint: str | None = None, **arguments: Any) -> list[int]:
    """Return the positions that a Trainer passes to its model."""
    from transformers import Trainer, TrainingArguments

    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "remove_unused_columns": False}
    settings = TrainingArguments(output_dir=str(folder), per_device_train_batch_size=4, **{**quiet, **arguments})
    model = Watched()
    Trainer(model=model, args=settings, train_dataset=train).train(resume_from_checkpoint=checkpoint)
    return model.read


def trainer_of_a_stream(mixture: LoadedMixture, folder: Path) -> Shown:
    stream, resumed = (MixtureStream(mixture.train, batch_size=4, samples=True) for _ in range(2))
    order = {exact(trained(stream, folder, num_train_epochs=2, save_strategy="steps", save_steps=3), 0, 84)}
    resumed.load_state_dict({**resumed.state_dict(), "position": 52})
    resume = {exact(trained(resumed, folder, max_steps=5), 52, 72)}
    again = MixtureStream(mixture.train, batch_size=4, samples=True)
    resume.add(exact(trained(again, folder, num_train_epochs=2, checkpoint=str(folder / "checkpoint-12")), 48, 84))
    begun, at_its_position = (MixtureStream(mixture.train, batch_size=4, samples=True, endless=True, position=at) for at in (0, 36))
    order.add(exact(trained(begun, folder / "endless", max_steps=12, save_strategy="steps", save_steps=9), 0, 48))
    skipped: dict[str, Any] = {"checkpoint": str(folder / "endless" / "checkpoint-9"), "ignore_data_skip": True}
    resume.add(exact(trained(at_its_position, folder, max_steps=12, **skipped), 36, 48))
    for step, ends in ((3, {"num_train_epochs": 2}), (12, {"max_steps": 21})):
        of_epochs = MixtureStream(mixture.train, batch_size=4, samples=True, position=4 * step)
        skipped["checkpoint"] = str(folder / f"checkpoint-{step}")
        resume.add(exact(trained(of_epochs, folder, **ends, **skipped), 4 * step, 84))
    earlier = MixtureStream(mixture.train, batch_size=4, samples=True, position=36)
    refused("epoch: is 1, which begins at position 44", partial(trained, earlier, folder, num_train_epochs=2, **skipped))
    read, verdicts = zip(*in_processes(folder, 2, partial(by_trainer, mixture.home, folder)), strict=True)
    of_steps = [position for step in (slice(4), slice(4, 8)) for rank in read for position in rank[step]]
    return {*order, exact(of_steps, 0, 16), *verdicts}, resume


def by_trainer(home: Path, folder: Path, rank: int) -> Any:
    """Return the positions that the Trainer of one of two ranks reads, and the verdict on a stream that also divides the samples."""
    _tell_accelerate(rank, 2)

    def read(**shard: int) -> list[int]:
        return trained(MixtureStream(load_mixture(home).train, batch_size=4, samples=True, **shard), folder, max_steps=2)

    verdict = refused("both accelerate and this stream would divide", read)
    return [read(rank=0, world_size=1), verdict]


def trainer_of_a_map_style_split(mixture: LoadedMixture, folder: Path) -> Shown:
    def train() -> Any:
        return load_mixture(mixture.home).train

    in_order: dict[str, Any] = {"train_sampling_strategy": "sequential", "num_train_epochs": 2}
    order = {exact(trained(train(), folder, **in_order, save_strategy="steps", save_steps=13), 0, 82)}
    shuffled = trained(train(), folder / "shuffled", num_train_epochs=1)
    assert sorted(shuffled) == list(range(41)) != shuffled
    return order, {exact(trained(train(), folder, **in_order, checkpoint=str(folder / "checkpoint-13")), 49, 82)}


def _tell_accelerate(rank: int, world_size: int) -> None:
    of_processes = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": 1}
    os.environ.update({name: str(value) for name, value in of_processes.items()})


def by_accelerate(home: Path, cache: Path, rank: int) -> Any:
    """Return the samples that a rank reads from a prepared loader, from positions 0 and 16 and in the next epoch, and two verdicts.

    The verdicts are about a stream of one rank, and about the states of streams that ``accelerate`` divides.
    """
    _tell_accelerate(rank, 2)
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    accelerator, train, reads = Accelerator(cpu=True), load_mixture(home).train, []
    verdict = refused("both accelerate and this stream would divide", lambda: next(iter(MixtureStream(train, batch_size=4, samples=True))))
    assert MixtureLoader(train, batch_size=4, rank=0, world_size=1).state_dict()["position"] == 0
    for position in (0, 16):
        stream = MixtureStream(train, batch_size=4, samples=True, position=position, rank=0, world_size=1)
        prepared = accelerator.prepare(DataLoader(stream, batch_size=4))
        batches = list(prepared)
        assert all("corpus" not in batch for batch in batches)
        reads.append([batch["position"].tolist() for batch in batches])
    reads.append([batch["position"].tolist() for batch in prepared])
    divided, _ = get_dataset({"cache_dir": str(cache), "seq_len": 4}, dataset_concat="random_iterable")
    divided.set_rank_and_world_size(0, 1)
    states = {refused("its state would leave samples out", of.state_dict) for of in (stream, divided)}
    accelerator = Accelerator(cpu=True, dataloader_config=DataLoaderConfiguration(use_stateful_dataloader=True))
    states.add(refused("its state would leave samples out", lambda: accelerator.prepare(DataLoader(stream, batch_size=4))))
    return [*reads, verdict, *states]


def accelerate(mixture: LoadedMixture, folder: Path) -> Shown:
    np.save(folder / "train.npy", np.arange(41, dtype=np.uint16))
    *found, verdicts, states = zip(*in_processes(folder, 2, partial(by_accelerate, mixture.home, folder)), strict=True)
    first, resumed, following = ([at for step in zip(*ranks, strict=True) for batch in step for at in batch] for ranks in found)
    return {exact(first[:41], 0, 41), *verdicts}, {exact(resumed[:25], 16, 41), exact(following, 44, 84), *states}


def by_accelerate_alone(home: Path, rank: int) -> Any:
    """Return the samples from a prepared loader, and the names from a `MixtureLoader`, where ``accelerate`` has a single process."""
    _tell_accelerate(rank, 1)
    from accelerate import Accelerator

    accelerator, train = Accelerator(cpu=True), load_mixture(home).train
    prepared = accelerator.prepare(DataLoader(MixtureStream(train, batch_size=4, samples=True), batch_size=4))
    return [positions(prepared), next(iter(MixtureLoader(train, batch_size=2)))["corpus"]]


def lightning_and_watched_model() -> tuple[Any, Any]:
    """Return the package lightning, and a class of models whose `watched` lists their training data."""
    lightning = pytest.importorskip("lightning")

    class WatchedModel(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.watched = Watched()

        def training_step(self, batch: dict[str, Any]) -> Any:
            return self.watched(**batch)["loss"]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

    return lightning, WatchedModel


def lightning(mixture: LoadedMixture, folder: Path) -> Shown:
    (lightning, watched_model), saved, ended = lightning_and_watched_model(), folder / "saved.ckpt", folder / "ended.ckpt"

    class Model(watched_model):  # type: ignore[misc,valid-type]
        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.global_step == 5:
                self.trainer.save_checkpoint(saved)

        def on_train_end(self) -> None:
            self.trainer.save_checkpoint(ended)

    def fitted(
        checkpoint: Path | None = None, max_epochs: int = -1, batch_size: int = 4, *, reloads: bool = False, **options: Any
    ) -> list[int]:
        model, quiet = Model(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        end = {"max_epochs": max_epochs, "max_steps": 13 if max_epochs < 0 else -1}
        quiet["reload_dataloaders_every_n_epochs"] = int(reloads)
        trainer = lightning.Trainer(accelerator="cpu", enable_checkpointing=False, default_root_dir=folder, **quiet, **end)
        model.train_dataloader = partial(MixtureLoader, mixture.train, batch_size=batch_size, **options)
        trainer.fit(model, None if reloads else model.train_dataloader(), ckpt_path=checkpoint)
        read: list[int] = model.watched.read
        return read

    order, resume = {refused("endless: Lightning reads one batch ahead", partial(fitted, endless=True))}, set()
    for workers in (0, 1):
        order.add(exact(fitted(num_workers=workers), 0, 52))
        resume.add(exact(fitted(saved, num_workers=workers), 20, 52))
    resume.add(exact(fitted(saved, max_epochs=2), 20, 84))
    for batch_size in (2, 8):
        resume.add(refused("step: Lightning has counted batches of 4 samples", partial(fitted, saved, max_epochs=2, batch_size=batch_size)))
    resume.add(exact(fitted(saved, batch_size=2), 20, 36))  # 13 steps in all
    assert exact(fitted(max_epochs=1), 0, 44) == "exact"
    end = ended.rename(folder / "of-epoch.ckpt")
    for workers, batch_size in ((0, 4), (1, 4), (0, 8)):
        resume.add(exact(fitted(end, max_epochs=3, num_workers=workers, batch_size=batch_size), 44, 124))
    order.add(refused("position: Lightning makes a new loader for epoch 1", partial(fitted, max_epochs=2, reloads=True)))
    resume.add(refused("position: Lightning makes a new loader for epoch 2", partial(fitted, end, max_epochs=3, reloads=True)))
    return order, resume


def test_lightning_validates_and_tests_with_a_new_mixture_loader_each_time(tmp_path: Path) -> None:
    lightning, watched_model = lightning_and_watched_model()
    mixture = mixture_of(tmp_path / "mixture", {"a": {"0": 12}, "b": {"0": 4}}, splits=("train", "validation"))
    train, split, read = MixtureLoader(mixture.train, batch_size=4), mixture.validation, list[int]()

    class Model(watched_model):  # type: ignore[misc,valid-type]
        def validation_step(self, batch: dict[str, Any]) -> None:
            read.extend(batch["position"].tolist())

        test_step = predict_step = validation_step

        def train_dataloader(self) -> Any:
            return train

        def val_dataloader(self) -> Any:
            return MixtureLoader(split, batch_size=4)

        test_dataloader = predict_dataloader = val_dataloader

    quiet = {"enable_checkpointing": False, "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=2,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1,
        **quiet,
    )
    model = Model()
    trainer.fit(model)
    trainer.test(model)
    trainer.predict(model)
    assert split is not None
    assert read == 4 * list(range(len(split)))
    assert model.watched.read == list(range(len(model.watched.read)))


CASES: dict[str, Callable[[LoadedMixture, Path], Shown]] = {
    "`MixtureLoader`, any ranks and workers": mixture_loader,
    "`MixtureStream`, no loader workers": stream_alone,
    "`DataLoader(MixtureStream, num_workers=n)`, persistent workers or not": loader_of_batches,
    "`DataLoader(MixtureStream(samples=True), batch_size=b, num_workers=n)`": loader_of_samples,
    "`StatefulDataLoader(MixtureStream)`, no loader workers": stateful_loader_without_workers,
    "`StatefulDataLoader(MixtureStream, num_workers=n)`": stateful_loader_with_workers,
    "`DataLoader(mixture.train)` without a shuffling sampler": map_style_loader,
    "`transformers.Trainer` with `MixtureStream(samples=True)`": trainer_of_a_stream,
    "`transformers.Trainer` with `mixture.train`": trainer_of_a_map_style_split,
    "`accelerate`, preparing the loader of a stream": accelerate,
    "Lightning with `MixtureLoader`": lightning,
}
"""Function that runs the combination of each row of the table."""


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> LoadedMixture:
    """A mixture whose epochs have 41 samples."""
    return mixture_of(tmp_path_factory.mktemp("mixture") / "mixture")


def test_every_row_of_the_training_table_has_a_case_and_every_case_a_row() -> None:
    rows = rows_of_the_table()
    assert list(rows) == list(CASES)
    assert all(order and resume for order, resume in rows.values())


@pytest.mark.parametrize("row", CASES)
def test_row_of_the_training_table_is_true(mixture: LoadedMixture, tmp_path: Path, row: str) -> None:
    order, resume = rows_of_the_table()[row]
    assert CASES[row](mixture, tmp_path) == (order, resume)


def test_single_process_of_accelerate_reads_a_stream(mixture: LoadedMixture, tmp_path: Path) -> None:
    (read,) = in_processes(tmp_path, 1, partial(by_accelerate_alone, mixture.home))
    assert read[0] == list(range(44))
    assert len(read[1]) == 2
