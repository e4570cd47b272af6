"""Mixtures under the loaders of accelerate and Lightning."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from phyagi_assets.datasets import MixtureLoader, MixtureStream, get_dataset, load_mixture
from tests.datasets.mixtures import mixture_of
from tests.datasets.processes import in_processes


def _by_accelerate(home: Path, cache: Path, rank: int) -> Any:
    os.environ |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}
    from accelerate import Accelerator

    accelerator, train = Accelerator(cpu=True), load_mixture(home).train
    stream = MixtureStream(train, batch_size=4, samples=True)
    with pytest.raises(ValueError, match="accelerate divides what it is given"):
        next(iter(stream))
    stream.set_rank_and_world_size(0, 1)
    read = [batch["position"].tolist() for batch in accelerator.prepare(DataLoader(stream, batch_size=4))]
    get_dataset({"cache_dir": str(cache), "seq_len": 4}, dataset_concat="random_iterable")
    return read


def test_accelerate_divides_a_stream_of_all_positions(tmp_path: Path) -> None:
    import numpy as np

    mixture, cache = mixture_of(tmp_path / "mixture"), tmp_path / "cache"
    cache.mkdir()
    np.save(cache / "train.npy", np.arange(41, dtype=np.uint16))
    ranks = in_processes(tmp_path, 2, partial(_by_accelerate, mixture.home, cache))
    assert len(ranks[0]) == len(ranks[1])
    read = [position for step in zip(*ranks, strict=True) for batch in step for position in batch]
    assert read[:41] == list(range(41))


@pytest.mark.parametrize("workers", [0, 1])
def test_lightning_resumes_with_the_batch_after_the_saved_step(tmp_path: Path, workers: int) -> None:
    lightning, torch = pytest.importorskip("lightning"), pytest.importorskip("torch")
    mixture, saved = mixture_of(tmp_path / "mixture"), tmp_path / "saved.ckpt"

    class Model(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.read = torch.nn.Linear(1, 1), []

        def training_step(self, batch: dict[str, Any]) -> Any:
            self.read += batch["position"].tolist()
            return self.layer(batch["position"].float()[:, None]).mean()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.global_step == 5:
                self.trainer.save_checkpoint(saved)

    def fitted(checkpoint: Path | None) -> list[int]:
        model, quiet = Model(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = lightning.Trainer(
            max_steps=13, max_epochs=-1, accelerator="cpu", enable_checkpointing=False, default_root_dir=tmp_path, **quiet
        )
        trainer.fit(model, MixtureLoader(mixture.train, batch_size=4, num_workers=workers), ckpt_path=checkpoint)
        read: list[int] = model.read
        return read

    assert fitted(None) == list(range(52))
    assert fitted(saved) == list(range(20, 52))
