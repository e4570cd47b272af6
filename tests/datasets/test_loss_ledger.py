"""Losses by corpus and document: the ledger loses nothing, and the command finds the document behind a spike."""

import shlex
import sys
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.cli import main
from phyagi_assets.datasets import LMDataCollator, LoadedMixture, LossLedger, MixtureLoader, load_mixture, loss_ledger
from phyagi_assets.declare.mixture_schema import MixtureConfig
from phyagi_assets.declare.yaml_reader import load_yaml
from phyagi_assets.errors import PhyagiAssetsError
from phyagi_assets.formats.loss_ledger import WHOLE_SAMPLE, read_ledger
from phyagi_assets.formats.plan import Ancestor
from phyagi_assets.reading.steps import Shard
from phyagi_assets.steps.mixture import build_mixture
from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN, EnginePool
from tests.cli.test_reports import valid
from tests.datasets.mixtures import mixture_of
from tests.order.plans import partitions, plan_of
from tests.reading.mixtures import SAMPLES
from tests.support import DATA, build, declare, declare_corpus, write_jsonl, write_text
from tests.tokenizers.faulty_engines import give_report

pytestmark = [pytest.mark.torch, pytest.mark.usefixtures("imports_of_trainers")]

SEQ_LEN, BATCH, PLANTED = 128, 4, 17
"""Tokens per sample, samples per batch, and the row of the planted document: a thousand repeats of a token."""
BOTH = ("callbacks", "compute_loss_func")
"""Arguments of a Trainer that records losses."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, prepared_store: Path, engines: EnginePool) -> Path:
    """A store with a mixture ``demo`` of two corpora, whose tokens are bytes; one of them has a planted document."""
    folder = tmp_path_factory.mktemp("planted")
    save_byte_tokenizer(folder / "tokenizers" / "bytes")
    workspace = Workspace(data=folder, store=LocalStore(folder / "store"), engines=engines)
    play = (DATA / "raw" / "shakespeare" / "hamlet.txt").read_text(encoding="utf-8")
    write_text(folder / "plays" / "hamlet.txt", play[:16_000])
    rows: list[Any] = [play[start : start + 500] for start in range(20_000, 36_000, 500)]
    rows[PLANTED] = "~" * 1000
    write_jsonl(folder / "web" / "pages.jsonl", rows)
    corpora = {name: declare_corpus(folder, name, f"{name}/*", tokenizer="tokenizers/bytes") for name in ("plays", "web")}
    give_report(corpora["web"], GIGATOKEN.name, folder, workspace.store, LocalStore(prepared_store))
    keys = {name: list(build(corpus, workspace)) for name, corpus in corpora.items()}
    parts = [{"corpus": "plays", "weight": 1.0}, {"corpus": "web", "weight": 1.0}]
    declared = load_yaml(declare(folder, "mixtures", name="demo", seq_len=SEQ_LEN, shuffle=False, datasets=parts), MixtureConfig)
    build_mixture(declared, corpora, keys, workspace)
    return folder / "store"


class Model(torch.nn.Module):
    """A bigram model of bytes, which learns in a few steps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(257, 257)
        torch.nn.init.zeros_(self.table.weight)

    def forward(self, input_ids: torch.Tensor) -> Any:
        return self.table(input_ids)


def train(mixture: LoadedMixture, ledger: LossLedger, steps: int | None = None) -> float:
    """Train a model for an epoch of a mixture, or some steps; return the sum of the losses of all tokens."""
    model, total = Model(), 0.0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    for step, batch in enumerate(MixtureLoader(mixture.train, batch_size=BATCH)):
        if step == steps:
            break
        loss = ledger.loss(model(batch["input_ids"]), batch, step=step)
        total += float(loss.detach()) * len(batch["position"]) * (SEQ_LEN - 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    ledger.flush()
    return total


def run(words: str, store: Path) -> Result:
    return CliRunner().invoke(main, shlex.split(words), env={"COLUMNS": "120", "PHYAGI_ASSETS_STORE": str(store)})


@pytest.mark.parametrize("boundaries", [True, False])
def test_planted_document_is_found_from_the_spike_in_one_command(store: Path, tmp_path: Path, boundaries: bool) -> None:
    mixture = load_mixture("demo", store=store, boundaries=boundaries)
    total = train(mixture, LossLedger(tmp_path / "ledger", mixture.plan))
    rows = read_ledger(tmp_path / "ledger").rows
    assert rows.loss.sum() == pytest.approx(total, rel=1e-5)
    done = run(f"losses demo {tmp_path / 'ledger'} --json", store)
    assert done.exit_code == 0, done.output
    report = valid(done.stdout, "losses")
    (spike,) = report["spikes"]
    worst = spike["documents"][0]
    assert (worst["corpus"], worst["file"], worst["row"], worst["is_measured"]) == ("web", "pages.jsonl", PLANTED, boundaries)
    assert worst["text"].count("~") > 100
    assert {position // BATCH for position in worst["positions"]} <= set(range(spike["first"] - 1, spike["last"] + 1))
    shown = run(f"losses demo {tmp_path / 'ledger'} -o {tmp_path / 'losses.svg'}", store).stdout
    assert (tmp_path / "losses.svg").read_text(encoding="utf-8").count("<polyline") == len(report["corpora"])
    assert f"pages.jsonl row {PLANTED + 1}, id {worst['id']}" in shown
    assert f"phyagi-assets remove web --id {worst['id']}" in shown
    assert "losses.png does not end in .svg" in run(f"losses demo {tmp_path / 'ledger'} -o losses.png", store).stderr


def test_document_whose_loss_is_lost_in_the_noise_of_the_steps_is_listed(store: Path, tmp_path: Path) -> None:
    mixture = load_mixture("demo", store=store)
    noise = torch.randn(60, generator=torch.Generator().manual_seed(0))
    bad = 8 * 12 + 3
    with LossLedger(tmp_path / "ledger", mixture.plan) as ledger:
        for step, batch in enumerate(MixtureLoader(mixture.train, batch_size=8)):
            each = 3.0 + 0.3 * noise[step] + 4.0 * (torch.as_tensor(batch["position"]) == bad)
            ledger.record(each[:, None].expand(-1, SEQ_LEN).clone(), batch["labels"], batch, step=step)
    report = valid(run(f"losses demo {tmp_path / 'ledger'} --json", store).stdout, "losses")
    assert report["spikes"] == []
    assert {position for document in report["outliers"] for position in document["positions"]} == {bad}
    shown = run(f"losses demo {tmp_path / 'ledger'}", store).stdout
    assert "No spikes\nDocuments with a loss far above others of their corpus and length" in shown
    assert f"phyagi-assets remove {report['outliers'][0]['corpus']} --id {report['outliers'][0]['id']}" in shown


@pytest.mark.parametrize("at", [0, 3])
def test_loss_that_is_not_finite_is_a_spike_from_the_first_step_on(store: Path, tmp_path: Path, at: int) -> None:
    mixture = load_mixture("demo", store=store)
    with LossLedger(tmp_path / "ledger", mixture.plan) as ledger:
        for step, batch in zip(range(5), MixtureLoader(mixture.train, batch_size=BATCH), strict=False):
            logits = torch.zeros(BATCH, SEQ_LEN, 257)
            logits[2] = float("nan") if step == at else 0.0
            ledger.loss(logits, batch, step=step)
    report = valid(run(f"losses demo {tmp_path / 'ledger'} --json", store).stdout, "losses")
    (spike,) = report["spikes"]
    assert (spike["peak"], spike["loss"], spike["expected"], spike["score"]) == (at, None, None, None)
    assert all(BATCH * at + 2 in document["positions"] for document in spike["documents"])
    assert f"Spike at step {at}: loss –, not finite" in run(f"losses demo {tmp_path / 'ledger'}", store).stdout


@pytest.mark.parametrize("step", [-1, 1.5, "1", None, 10**30])
def test_invalid_step_number_is_refused_before_recording(store: Path, tmp_path: Path, step: Any) -> None:
    mixture = load_mixture("demo", store=store)
    ledger = LossLedger(tmp_path / "ledger", mixture.plan)
    batch = next(iter(MixtureLoader(mixture.train, batch_size=BATCH)))
    with pytest.raises((TypeError, ValueError), match="step: is "):
        ledger.loss(torch.zeros(BATCH, SEQ_LEN, 257), batch, step=step)
    ledger.flush()
    assert list((tmp_path / "ledger").iterdir()) == []


Recorded = dict[tuple[int, int, int], tuple[int, float]]
"""Tokens and loss by step, position and ordinal of the document."""


def recorded(folder: Path) -> Recorded:
    rows = read_ledger(folder).rows
    keys = zip(rows.step.tolist(), rows.position.tolist(), rows.document.tolist(), strict=True)
    found = dict(zip(keys, zip(rows.tokens.tolist(), rows.loss.tolist(), strict=True), strict=True))
    assert len(found) == len(rows)
    return found


@st.composite
def batches(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw batches with losses of tokens, ignored labels and, in some, documents."""
    width, position, drawn = draw(st.integers(1, 9)), 0, []
    for _ in range(draw(st.integers(1, 5))):
        samples, seed = draw(st.integers(1, 4)), torch.Generator().manual_seed(draw(st.integers(0, 1000)))
        shape = samples, width
        batch: dict[str, Any] = {
            "losses": torch.rand(shape, generator=seed),
            "targets": torch.where(torch.rand(shape, generator=seed) < 0.3, -100, 7),
            "position": torch.arange(position, position + samples),
            "dataset_idx": torch.randint(0, 3, (samples,), generator=seed),
        }
        if draw(st.booleans()):
            starts = torch.rand(shape, generator=seed) < 0.3
            starts[:, 0] = False
            batch["document_ids"] = starts.cumsum(1)
        drawn.append(batch)
        position += samples
    return drawn


@given(drawn=batches(), every=st.sampled_from([1, 4]))
def test_ledger_has_every_loss_once_at_its_document(folders: Path, drawn: list[Any], every: int) -> None:
    plan = plan_of(partitions(SAMPLES))
    folder = Path(tempfile.mkdtemp(dir=folders))
    expected: dict[tuple[int, int, int], list[float]] = {}
    with LossLedger(folder, plan, every=every) as ledger:
        for step, batch in enumerate(drawn):
            ledger.record(batch["losses"], batch["targets"], batch, step=step)
            for sample, token in (batch["targets"] != -100).nonzero().tolist():
                after = min(token + 1, batch["losses"].shape[1] - 1)
                document = int(batch["document_ids"][sample, after]) if "document_ids" in batch else WHOLE_SAMPLE
                key = step, int(batch["position"][sample]), document
                expected.setdefault(key, []).append(float(batch["losses"][sample, token]))
    if not expected:
        assert not list(folder.iterdir())
        return
    assert recorded(folder) == {key: (len(losses), pytest.approx(sum(losses), rel=1e-5)) for key, losses in expected.items()}
    rows = read_ledger(folder).rows
    corpora = {int(at): plan.corpora[int(of)].name for b in drawn for at, of in zip(b["position"], b["dataset_idx"], strict=True)}
    assert [rows.names[of] for of in rows.corpus] == [corpora[at] for at in rows.position.tolist()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for one ledger per example."""
    return tmp_path_factory.mktemp("ledgers")


def record(ledger: LossLedger, steps: Iterable[int], loss: float, *, at: int = 0, stride: int = 1) -> None:
    """Record samples of four tokens, one per step."""
    for step in steps:
        batch = {"position": torch.tensor([step * stride + at]), "dataset_idx": torch.tensor([1])}
        ledger.record(torch.full((1, 4), loss), torch.zeros(1, 4, dtype=torch.int64), batch, step=step)
    ledger.flush()


def test_resumed_ledger_replaces_repeated_steps_of_all_ranks(tmp_path: Path) -> None:
    plan = plan_of(partitions(SAMPLES))
    first = [LossLedger(tmp_path, plan, rank=rank, world_size=2) for rank in range(2)]
    for rank, ledger in enumerate(first):
        record(ledger, range(6), 1.0, at=rank, stride=2)
    whole = read_ledger(tmp_path)
    assert (whole.runs, whole.ranks, whole.replaced) == (1, 2, 0)
    assert list(recorded(tmp_path)) == [(step, 2 * step + rank, WHOLE_SAMPLE) for step in range(6) for rank in range(2)]
    record(LossLedger(tmp_path, plan), range(4, 8), 3.0)  # resumed from step 4 by one rank
    again = read_ledger(tmp_path)
    assert (again.runs, again.ranks, again.replaced) == (2, 2, 4)
    assert again.rows.step.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7]
    assert again.rows.loss.tolist() == [4.0] * 8 + [12.0] * 4


def test_steps_that_go_back_replace_those_recorded_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = LossLedger(tmp_path, plan_of(partitions(SAMPLES)))
    record(ledger, range(6), 1.0)
    record(ledger, range(4, 8), 3.0)  # a second training in the same process, from a checkpoint
    found = read_ledger(tmp_path)
    assert (found.runs, found.replaced) == (2, 2)
    assert found.rows.loss.tolist() == [4.0] * 4 + [12.0] * 4
    assert "step 4 follows step 5; this is run 1, which replaces the steps from 4 on" in caplog.text


def test_losses_that_could_not_be_written_are_written_the_next_time(tmp_path: Path) -> None:
    ledger = LossLedger(tmp_path / "ledger", plan_of(partitions(SAMPLES)))
    (tmp_path / "ledger").rename(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="ledger"):
        record(ledger, range(3), 1.0)
    (tmp_path / "elsewhere").rename(tmp_path / "ledger")
    record(ledger, range(3, 6), 1.0)
    assert read_ledger(tmp_path / "ledger").rows.step.tolist() == [*range(6)]


def test_rank_is_that_of_the_process_group_which_begins_after_the_ledger_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledgers = [LossLedger(tmp_path, plan_of(partitions(SAMPLES))) for _ in range(2)]
    for rank, ledger in enumerate(ledgers):
        monkeypatch.setattr(loss_ledger, "shard_of_process", partial(Shard, rank=rank, world_size=2))
        record(ledger, range(3), 1.0, at=rank, stride=2)
    assert (read_ledger(tmp_path).ranks, len(recorded(tmp_path))) == (2, 6)


def test_batch_without_gradients_is_not_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = LossLedger(tmp_path, plan_of(partitions(SAMPLES)))
    record(ledger, range(2), 1.0)
    with torch.no_grad():  # as in validation
        record(ledger, range(2, 4), 1.0)
    assert read_ledger(tmp_path).rows.step.tolist() == [0, 1]
    assert [message.rpartition(": ")[2] for message in caplog.messages] == ["a batch without gradients, as in validation, is not recorded"]


def test_ledger_of_another_mixture_is_not_continued(tmp_path: Path) -> None:
    plan = plan_of(partitions(SAMPLES))
    record(LossLedger(tmp_path, plan), range(2), 1.0)
    LossLedger(tmp_path, replace(plan, fingerprint="later", ancestors=(Ancestor(fingerprint="first", agrees_until=1),)))
    with pytest.raises(PhyagiAssetsError, match="has losses of plan first of mixture 'mix', which plan other"):
        LossLedger(tmp_path, replace(plan, fingerprint="other"))


def test_batch_without_positions_is_refused_with_the_name_of_the_column(tmp_path: Path) -> None:
    ledger, losses = LossLedger(tmp_path, plan_of(partitions(SAMPLES))), torch.zeros(2, 4)
    with pytest.raises(ValueError, match="position: is missing from the batch"):
        ledger.record(losses, losses, {"dataset_idx": torch.zeros(2)}, step=0)
    with pytest.raises(ValueError, match=r"losses: has shape \(2,\), but the batch has \(8,\)"):
        ledger.record(losses, losses, {"dataset_idx": torch.zeros(8), "position": torch.zeros(8)}, step=0)


def spoil(ledger: Path, how: str) -> None:
    """Damage the ledger of a run in one way."""
    (part,) = ledger.glob("*.parquet")
    if how == "foreign":
        pq.write_table(pa.table({"a": [1]}), part)
    elif how == "cut":
        part.write_bytes(part.read_bytes()[:-100])
    else:
        part.unlink()
    if how == "absent":
        ledger.rmdir()


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("absent", 2, "ledger: does not exist; name the folder that a LossLedger writes to"),
        ("empty", 2, "ledger: has no part of a ledger (run-*.parquet)"),
        ("cut", 1, "run-0000.rank-00000.part-000000.parquet: is damaged"),
        ("foreign", 1, "part-000000.parquet: is a Parquet file, but not part of a ledger"),
    ],
)
def test_bad_ledger_is_an_error_with_its_file(store: Path, tmp_path: Path, how: str, code: int, message: str) -> None:
    plan = load_mixture("demo", store=store).plan
    record(LossLedger(tmp_path / "ledger", plan), range(2), 1.0)
    spoil(tmp_path / "ledger", how)
    done = run(f"losses demo {tmp_path / 'ledger'}", store)
    assert (done.exit_code, message in done.stderr.replace("\n", "")) == (code, True), done.stderr


def test_ledger_of_another_plan_is_refused_with_both_plans(store: Path, tmp_path: Path) -> None:
    plan = load_mixture("demo", store=store).plan
    record(LossLedger(tmp_path, replace(plan, fingerprint="earlier")), range(3), 1.0)
    done = run(f"losses demo {tmp_path}", store)
    assert done.exit_code == 2
    assert f"has losses of plan earlier of mixture 'demo' up to position 2, but 'demo' is now plan {plan.fingerprint}" in done.stderr


def test_ledger_of_another_length_is_shown(store: Path, tmp_path: Path) -> None:
    mixture = load_mixture("demo", store=store, seq_len=64)
    record(LossLedger(tmp_path, mixture.plan), range(3), 1.0)
    assert run(f"losses demo {tmp_path}", store).exit_code == 0


@pytest.mark.parametrize("divisor", [None, 11, torch.tensor(13)])
def test_loss_and_gradients_are_those_of_transformers(tmp_path: Path, divisor: Any) -> None:
    from transformers.loss.loss_utils import ForCausalLMLoss

    draw = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 8, 20, generator=draw, requires_grad=True)
    labels = torch.randint(0, 20, (3, 8), generator=draw)
    labels[0, 3:6] = -100
    batch = {"labels": labels, "position": torch.arange(3), "dataset_idx": torch.zeros(3, dtype=torch.int64)}
    plan = plan_of(partitions(SAMPLES))
    losses = [
        LossLedger(tmp_path, plan).loss(logits, batch, step=0, num_items_in_batch=divisor),
        ForCausalLMLoss(logits, labels, 20, num_items_in_batch=divisor),
    ]
    ours, theirs = (torch.autograd.grad(loss, logits)[0] for loss in losses)
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(ours, theirs)
    shifted = {**batch, "labels": torch.nn.functional.pad(labels, (0, 1), value=-100)[:, 1:]}
    torch.testing.assert_close(
        LossLedger(tmp_path, plan, shift_labels=True).loss(logits, shifted, step=0, num_items_in_batch=divisor), losses[0]
    )


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> LoadedMixture:
    """A mixture of 41 samples of four tokens, with documents of 1 to 9 tokens."""
    return load_mixture(mixture_of(tmp_path_factory.mktemp("mixture") / "mixture").home, boundaries=True)


def trained_by_trainer(
    mixture: LoadedMixture, folder: Path, checkpoint: str | None = None, *, given: Collection[str] = BOTH, **arguments: Any
) -> Any:
    """Train a GPT-2 with a Trainer, which is given the callback of a ledger, its function, or none; return the Trainer."""
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

    torch.manual_seed(0)
    no_dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    tokens = {"vocab_size": 300, "bos_token_id": None, "eos_token_id": None}
    config = GPT2Config(n_positions=4, n_embd=8, n_layer=1, n_head=1, **tokens, **no_dropout)
    quiet = {"report_to": [], "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "save_strategy": "no", "max_steps": 5}
    callback = LossLedger(folder / "ledger", mixture.plan).trainer_callback()
    trainer = Trainer(
        model=GPT2LMHeadModel(config),
        args=TrainingArguments(
            output_dir=str(folder),
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            train_sampling_strategy="sequential",
            **{**quiet, "remove_unused_columns": False, **arguments},
        ),
        train_dataset=mixture.train,
        eval_dataset=mixture.train,
        data_collator=LMDataCollator(),
        compute_loss_func=callback.compute_loss if "compute_loss_func" in given else None,
        callbacks=[callback] if "callbacks" in given else [],
    )
    if "add_callback" in given:
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def test_trainer_records_each_step_and_continues_from_a_checkpoint(mixture: LoadedMixture, tmp_path: Path) -> None:
    trained = trained_by_trainer(mixture, tmp_path, save_strategy="steps", save_steps=3, eval_strategy="steps", eval_steps=4)
    rows = read_ledger(tmp_path / "ledger").rows
    logged = [entry["loss"] for entry in trained.state.log_history if "loss" in entry]
    for step, loss in enumerate(logged):
        of = rows[rows.step == step]
        assert sorted(set(of.position.tolist())) == list(range(4 * step, 4 * step + 4))
        assert of.loss.sum() / (4 * 4) == pytest.approx(loss, rel=1e-4)  # for GPT-2, the Trainer also counts the first labels
    assert len(logged) == 5
    assert trained.evaluate()["eval_loss"] > 0
    before = recorded(tmp_path / "ledger")
    trained_by_trainer(mixture, tmp_path, checkpoint=str(tmp_path / "checkpoint-3"))
    again = read_ledger(tmp_path / "ledger")
    assert (again.runs, again.replaced) == (2, sum(step >= 3 for step, *_ in before))
    after = recorded(tmp_path / "ledger")
    assert after == {key: (tokens, pytest.approx(loss, rel=1e-4)) for key, (tokens, loss) in before.items()}


def test_trainer_has_the_losses_of_a_trainer_without_a_ledger(mixture: LoadedMixture, tmp_path: Path) -> None:
    with_ledger, without = (trained_by_trainer(mixture, tmp_path / f"{len(given)}", given=given, max_steps=3) for given in (BOTH, ()))
    ours, theirs = ([entry["loss"] for entry in of.state.log_history if "loss" in entry] for of in (with_ledger, without))
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_trainer_that_removes_the_positions_is_refused_with_the_setting(mixture: LoadedMixture, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="set remove_unused_columns=False in the TrainingArguments"):
        trained_by_trainer(mixture, tmp_path, remove_unused_columns=True)


@pytest.mark.parametrize(
    ("given", "arguments", "refusal"),
    [
        ({"callbacks"}, {}, "compute_loss_func: the Trainer does not call compute_loss of the ledger's callback"),
        ({"compute_loss_func"}, {}, "callbacks: the Trainer has compute_loss of the callback, but not the callback"),
        ({"callbacks", "compute_loss_func"}, {"label_smoothing_factor": 0.1}, "label_smoothing_factor: is 0.1"),
        ({"add_callback", "compute_loss_func"}, {"label_smoothing_factor": 0.1}, "label_smoothing_factor: is 0.1"),
    ],
)
def test_trainer_that_would_record_nothing_or_train_on_another_loss_is_refused(
    mixture: LoadedMixture, tmp_path: Path, given: set[str], arguments: dict[str, Any], refusal: str
) -> None:
    with pytest.raises(ValueError, match=refusal):
        trained_by_trainer(mixture, tmp_path, given=given, **arguments)


def test_lightning_writes_the_ledger_with_checkpoints_and_at_the_end(mixture: LoadedMixture, tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning")
    ledger = LossLedger(tmp_path / "ledger", mixture.plan)
    parts: list[int] = []

    class Trained(lightning.LightningModule):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Embedding(300, 300)

        def training_step(self, batch: dict[str, Any]) -> Any:
            return ledger.loss(self.model(batch["input_ids"]), batch, step=self.global_step)

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

        def on_train_batch_end(self, *_: Any) -> None:
            if self.trainer.global_step == 2:
                self.trainer.save_checkpoint(tmp_path / "saved.ckpt")
                parts.append(len(list((tmp_path / "ledger").iterdir())))

    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callback = ledger.lightning_callback()
    trainer = lightning.Trainer(max_steps=4, max_epochs=-1, accelerator="cpu", default_root_dir=tmp_path, callbacks=[callback], **quiet)
    trainer.fit(Trained(), MixtureLoader(mixture.train, batch_size=4))
    assert parts == [1]
    rows = read_ledger(tmp_path / "ledger").rows
    assert sorted(set(zip(rows.step.tolist(), rows.position.tolist(), strict=True))) == [(at // 4, at) for at in range(16)]


def test_absent_lightning_is_an_error_with_the_command_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install lightning"):
        LossLedger(tmp_path, plan_of(partitions(SAMPLES))).lightning_callback()
