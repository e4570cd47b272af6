"""A store built by an earlier release opens, yields the same samples, and is up to date."""

from pathlib import Path
from typing import Any

import numpy as np
from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import MixtureLoader, MixtureStream, load_mixture
from tests.command import command
from tests.compatibility.make_store import described, shown, write_source


def test_old_plans_yield_the_same_samples_boundaries_and_sources(old_data: Path, expected: dict[str, Any]) -> None:
    store = old_data / "store"
    plans = sorted(store.glob("*/.versions/*/mixture.json"))
    assert [plan.relative_to(store).as_posix() for plan in plans] == list(expected["plans"])
    for plan, wanted in zip(plans, expected["plans"].values(), strict=True):
        assert described(plan, wanted["is_published"]) == wanted
    for name, fingerprint in expected["published"].items():
        assert load_mixture(name, store=store).plan.fingerprint == fingerprint


def test_documents_are_found_at_the_positions_of_old_plans(old_data: Path, expected: dict[str, Any]) -> None:
    assert shown(old_data / "store") == expected["exposures"]


def test_loader_states_of_an_old_plan_resume_on_it_and_on_its_successor(old_data: Path, expected: dict[str, Any]) -> None:
    states, store = expected["states"], old_data / "store"
    begun = states["MixtureLoader"]["state"]["plan"]
    for plan in ("mix", store / "mix" / ".versions" / f"mixed_dataset@{begun}"):
        train = load_mixture(plan, store=store).train
        for name, loader in (
            ("MixtureLoader", MixtureLoader(train, batch_size=4)),
            ("MixtureStream", MixtureStream(train, batch_size=4)),
            ("StatefulDataLoader", StatefulDataLoader(MixtureStream(train, batch_size=4), batch_size=None, num_workers=2)),
        ):
            loader.load_state_dict(states[name]["state"])
            assert next(iter(loader))["input_ids"].tolist() == states[name]["next"], name


def test_segment_added_to_an_old_plan_keeps_its_order_and_reads_partition_remainders(old_data: Path, expected: dict[str, Any]) -> None:
    store = old_data / "store"
    before = load_mixture("plain", store=store)
    wanted = next(of for of in expected["plans"].values() if of["fingerprint"] == before.plan.fingerprint)
    write_source(old_data, "numbers", "z", 9)
    done = command("materialize", "--data", old_data, "plain", "--at", "70")
    assert "2 built" in done.stdout, done.stderr
    after = load_mixture("plain", store=store)
    assert (before.plan.format, after.plan.format) == (2, 3)
    assert [segment.crosses for segment in after.plan.segments] == [False, True]
    assert after.train.batch(np.arange(70))["input_ids"].tolist() == wanted["train"]["input_ids"][:70]
    assert after.plan.agrees(before.plan.fingerprint, 70)
    for source in after.plan.current.sources:
        assert after.plan.uncovered(source) <= after.plan.seq_len
    assert after.validation is not None
    tokens = after.plan.total("validation", "tokens")
    assert int((after.validation.batch(np.arange(len(after.validation)))["labels"] != -100).sum()) == tokens
    again = command("materialize", "--data", old_data, "plain")
    assert "0 built" in again.stdout, again.stderr
    shown = command("inspect", "--data", old_data, "plain").stdout
    assert f"{after.plan.uncovered():,} of {after.plan.total('train', 'tokens'):,} training tokens" in shown
    planned = command("plan", "--data", old_data, "plain").stdout
    for source in after.plan.current.sources:
        name, uncovered = after.plan.corpora[source.corpus].name, after.plan.uncovered(source)
        assert f"{uncovered:,} of them in no sample" in next(line for line in again.stdout.splitlines() if f"── {name} " in line)
        assert f" {uncovered:,} " in next(line for line in planned.splitlines() if line.split()[:1] == [name])


def test_old_store_is_up_to_date(old_data: Path, expected: dict[str, Any]) -> None:
    done = command("materialize", "--data", old_data)
    assert "0 built, 9 up to date, 0 failed" in done.stdout, done.stderr
    for name, fingerprint in expected["published"].items():
        assert load_mixture(name, store=old_data / "store").plan.fingerprint == fingerprint
    assert "0 problems" in command("check", "--data", old_data).stdout
