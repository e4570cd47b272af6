"""The record of the documents that a corpus leaves out."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from phyagi_assets.declare.document_id import document_id
from phyagi_assets.declare.removals import Removal, add_removals, read_removals, removals_file
from phyagi_assets.errors import DeclarationError
from tests.support import declare_corpus, write_text


def test_document_id_depends_on_the_text() -> None:
    assert document_id(0) == "0" * 16
    assert document_id(2**64 - 1) == "f" * 16


def test_removals_are_recorded_next_to_the_declaration_one_per_line(data: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    assert read_removals(corpus) == {}
    first = Removal(id="0" * 16, reason="on request", on="2026-01-31")
    assert add_removals(corpus, [first, first]) == [first]
    assert add_removals(corpus, [first, Removal(id="1" * 16)]) == [Removal(id="1" * 16)]
    assert list(read_removals(corpus)) == ["0" * 16, "1" * 16]
    lines = (data / "corpora" / "c.removed.jsonl").read_text().splitlines()
    assert list(map(json.loads, lines)) == [{"id": "0" * 16, "reason": "on request", "on": "2026-01-31"}, {"id": "1" * 16}]


def test_lines_written_by_hand_stay_as_they_are(data: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    by_hand = '\n{ "id" : "00000000000000aa", "reason": "größer" }\n'
    write_text(removals_file(corpus), by_hand)
    add_removals(corpus, [Removal(id="b" * 16)])
    assert removals_file(corpus).read_text(encoding="utf-8") == by_hand + f'{{"id": "{"b" * 16}"}}\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "is not JSON: Expecting value"),
        ("[]", "is not a valid removal; use an object with id, reason, on"),
        ('{"reason": "x"}', "is not a valid removal"),
        ('{"id": "00000000000000aa", "why": "x"}', "is not a valid removal"),
        ('{"id": "aa"}', "id: 'aa' is not a document id; use 16 hexadecimal digits"),
        ('{"id": "00000000000000AA"}', "is not a document id"),
        ('{"id": 7}', "id: 7 is not a document id"),
        ('{"id": "00000000000000aa", "reason": 1}', "reason: 1 is not text"),
        ('{"id": "00000000000000aa", "on": "yesterday"}', "on: 'yesterday' is not a day; write it as YYYY-MM-DD"),
        ('{"id": "00000000000000aa", "on": 20261123}', "on: 20261123 is not a day"),
        ('{"id": "00000000000000aa", "id": "00000000000000bb"}', "has a key twice; write each document on a line of its own"),
    ],
)
def test_invalid_removal_is_named_with_its_line(data: Path, line: str, message: str) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    write_text(removals_file(corpus), f'{{"id": "{"b" * 16}"}}\n{line}\n')
    with pytest.raises(DeclarationError) as problem:
        read_removals(corpus)
    assert str(problem.value).startswith(f"{removals_file(corpus)}:2:")
    assert message in str(problem.value)


def test_byte_order_mark_of_the_record_is_ignored(data: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    write_text(removals_file(corpus), f'\ufeff{{"id": "{"b" * 16}"}}\r\n')
    assert list(read_removals(corpus)) == ["b" * 16]
    add_removals(corpus, [Removal(id="c" * 16)])
    assert list(read_removals(corpus)) == ["b" * 16, "c" * 16]


def test_documents_that_several_commands_remove_at_once_are_all_recorded(data: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    removals = [Removal(id=f"{number:016x}", reason="odd\u2028reason\x85") for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda removal: add_removals(corpus, [removal]), removals))
    assert dict(read_removals(corpus)) == {removal.id: removal for removal in removals}


def test_linked_record_stays_a_link_and_files_of_a_killed_command_are_ignored(data: Path, tmp_path: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    kept = write_text(tmp_path / "kept" / "c.jsonl", "")
    write_text(tmp_path / "kept" / ".c.jsonl.draft", "half")
    removals_file(corpus).symlink_to(kept)
    add_removals(corpus, [Removal(id="0" * 16)])
    assert removals_file(corpus).is_symlink()
    assert json.loads(kept.read_text()) == {"id": "0" * 16}
    assert [path.name for path in kept.parent.iterdir()] == ["c.jsonl"]
    kept.unlink()  # as if its disk were not mounted: the documents are not brought back
    with pytest.raises(DeclarationError, match=f"is a link to {kept}, which does not exist; correct the link, or remove it"):
        read_removals(corpus)


def test_record_that_is_not_text_is_named(data: Path) -> None:
    corpus = declare_corpus(data, "c", "c.jsonl")
    write_text(removals_file(corpus), b"\xff\xfe")
    with pytest.raises(DeclarationError, match="is not UTF-8 at byte 0; save it as UTF-8"):
        read_removals(corpus)
