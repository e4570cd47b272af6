"""A store built by an earlier release opens, gives the same samples, and needs nothing built."""

from pathlib import Path
from typing import Any

from torchdata.stateful_dataloader import StatefulDataLoader

from phyagi_assets.datasets import MixtureLoader, MixtureStream, load_mixture
from tests.compatibility.make_store import described, shown
from tests.test_cli import command


def test_every_old_plan_gives_the_samples_boundaries_and_sources_that_it_gave(old_data: Path, expected: dict[str, Any]) -> None:
    store = old_data / "store"
    plans = sorted(store.glob("*/.versions/*/mixture.json"))
    assert [plan.relative_to(store).as_posix() for plan in plans] == list(expected["plans"])
    for plan, wanted in zip(plans, expected["plans"].values(), strict=True):
        assert described(plan, wanted["is_published"]) == wanted
    for name, fingerprint in expected["published"].items():
        assert load_mixture(name, store=store).plan.fingerprint == fingerprint


def test_documents_are_found_at_the_positions_of_old_plans(old_data: Path, expected: dict[str, Any]) -> None:
    assert shown(old_data / "store") == expected["exposures"]


def test_states_that_loaders_saved_on_an_old_plan_resume_on_it_and_on_the_plan_that_continues_it(
    old_data: Path, expected: dict[str, Any]
) -> None:
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


def test_nothing_of_an_old_store_is_built_again(old_data: Path, expected: dict[str, Any]) -> None:
    done = command("materialize", "--data", old_data)
    assert "0 built, 9 up to date, 0 failed" in done.stdout, done.stderr
    for name, fingerprint in expected["published"].items():
        assert load_mixture(name, store=old_data / "store").plan.fingerprint == fingerprint
    assert "0 problems" in command("check", "--data", old_data).stdout
