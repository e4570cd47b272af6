"""Conformance reports that all stores of a user share."""

from pathlib import Path

import pytest

from phyagi_assets.steps.step import Workspace
from phyagi_assets.store.local import LocalStore
from phyagi_assets.tokenizers import conformance_reports
from phyagi_assets.tokenizers.byte_level import save_byte_tokenizer
from phyagi_assets.tokenizers.conformance import Conformance, conformance
from phyagi_assets.tokenizers.conformance_reports import PLATFORM, REPORTS_FOLDER_VARIABLE, keep_report, known_report
from phyagi_assets.tokenizers.engine_pool import GIGATOKEN
from phyagi_assets.tokenizers.prepare import PreparedTokenizer, prepare_tokenizer
from tests.support import GPT2, declare_corpus
from tests.tokenizers.faulty_engines import refusing


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's reports."""
    folder = tmp_path / "reports"
    monkeypatch.setenv(REPORTS_FOLDER_VARIABLE, str(folder))
    return folder


def prepared(workspace: Workspace, tokenizer: Path) -> PreparedTokenizer:
    return prepare_tokenizer(
        declare_corpus(workspace.data, "any", "any.txt", tokenizer=str(tokenizer)), workspace.identities, workspace.store
    )


def test_report_is_kept_for_other_stores_and_platforms_have_their_own(reports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_report("0f", {"tokenizer": "any", "unsafe": [304], "distrust": ""})
    assert known_report("0f") == {"unsafe": [304], "distrust": ""}
    assert known_report("f0") is None
    assert [path.name for path in (reports / PLATFORM).iterdir()] == ["0f.json"]
    monkeypatch.setattr(conformance_reports, "PLATFORM", "Other-cpu")
    assert known_report("0f") is None


@pytest.mark.parametrize("content", ["", "[]", '{"unsafe": [1]}', '{"unsafe": ["a"], "distrust": ""}', '{"unsafe": 1, "distrust": ""}'])
def test_damaged_report_is_ignored(reports: Path, content: str) -> None:
    keep_report("0f", {"unsafe": [], "distrust": ""})
    (reports / PLATFORM / "0f.json").write_text(content, encoding="utf-8")
    assert known_report("0f") is None


def test_unwritable_folder_is_not_changed(reports: Path) -> None:
    reports.write_text("a file", encoding="utf-8")
    keep_report("0f", {"unsafe": [], "distrust": ""})
    assert known_report("0f") is None


def test_no_reports_are_known_or_kept_without_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORTS_FOLDER_VARIABLE, "")
    keep_report("0f", {"unsafe": [], "distrust": ""})
    assert known_report("0f") is None


@pytest.mark.usefixtures("reports")
@pytest.mark.skipif(not (conformance_reports.SHIPPED / PLATFORM).exists(), reason="the package has no reports for this platform")
def test_package_has_reports_for_its_tokenizers_and_the_pinned_engine(workspace: Workspace, tmp_path: Path) -> None:
    """If this fails after an upgrade of a package, copy the reports of new runs from the user's report folder."""
    save_byte_tokenizer(tmp_path / "bytes")
    for tokenizer in (GPT2, tmp_path / "bytes"):
        new = LocalStore(tmp_path / f"store of {tokenizer.name}")
        assert conformance(prepared(workspace, tokenizer), refusing, GIGATOKEN.name, new) == Conformance(engine=GIGATOKEN.name)
