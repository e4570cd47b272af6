"""Checks of plans: the content matches the manifest, and the order is readable."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from phyagi_assets.datasets import load_mixture
from phyagi_assets.errors import StoreError
from phyagi_assets.formats.plan import PLAN, Plan
from phyagi_assets.formats.plan_file import read_plan
from phyagi_assets.steps.checks.plans import ORDER, check_plan
from phyagi_assets.store.artifact import Artifact
from phyagi_assets.store.local import LocalStore
from phyagi_assets.store.manifest import MANIFEST, Manifest
from tests.order.plans import partitions, plan_of


@pytest.fixture
def plan() -> Plan:
    return plan_of(partitions({"one": {"a": 10}, "two": {"b": 30}}))


def write(plan: Plan, root: Path) -> Artifact:
    """Publish a plan with the arrays that it names."""
    wanted = Manifest.expected("mixed_dataset", code_version="2", inputs={}, settings={"fingerprint": plan.fingerprint})

    def fill(folder: Path) -> Manifest:
        (folder / PLAN).write_text(plan.to_json(), encoding="utf-8")
        for corpus in plan.corpora:
            for partition in corpus.partitions:
                for shard in partition.shards.values():
                    (folder / shard.path).parent.mkdir(exist_ok=True)
                    np.save(folder / shard.path, np.zeros(shard.tokens, dtype=plan.dtype))
        return wanted

    store = LocalStore(root)
    artifact = store.write("mix/mixed_dataset", wanted, fill)
    store.publish(artifact)
    return artifact


def test_readable_plan_passes(plan: Plan, tmp_path: Path) -> None:
    checks = {check.name: check for check in check_plan(write(plan, tmp_path), LocalStore(tmp_path))}
    assert checks[ORDER].passed, checks[ORDER]


def test_plan_with_an_unreadable_order_is_not_published(plan: Plan, tmp_path: Path) -> None:
    (segment,) = plan.segments
    absurd = replace(segment, sources=tuple(replace(source, rate=10**19, drawn=10**19) for source in segment.sources))
    checks = {check.name: check for check in check_plan(write(replace(plan, segments=(absurd,)), tmp_path), LocalStore(tmp_path))}
    assert not checks[ORDER].passed
    assert "the order of train cannot be read" in checks[ORDER].found


@pytest.mark.parametrize("by_name", [True, False])
def test_plan_with_one_changed_digit_is_refused(plan: Plan, tmp_path: Path, *, by_name: bool) -> None:
    file = write(plan, tmp_path).path / PLAN
    file.write_text(file.read_text().replace('"seed": 42', '"seed": 43'))
    with pytest.raises(StoreError, match=r"mixture\.json: was changed after it was written"):
        load_mixture("mix" if by_name else file, store=tmp_path)


@pytest.mark.parametrize("content", [None, "[]", "{}", '{"files": {"mixture.json": 3}}', "[" * 100_000, "\udc80"])
def test_plan_with_a_missing_or_invalid_manifest_is_refused(plan: Plan, tmp_path: Path, content: str | None) -> None:
    manifest = write(plan, tmp_path).path / MANIFEST
    manifest.unlink()
    if content is not None:
        manifest.write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(StoreError, match=r"manifest\.json: is"):
        load_mixture("mix", store=tmp_path)


def test_plan_copied_out_of_its_store_is_read_as_is(plan: Plan, tmp_path: Path) -> None:
    copy = tmp_path / "copy.json"
    copy.write_text(plan.to_json())
    assert read_plan(copy) == plan
    assert json.loads(copy.read_text())["seed"] == 42
