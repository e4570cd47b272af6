"""Ids outside the vocabulary and documents without EOS are counted for any division into blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.steps.checks.token_ids import EOS, VOCABULARY, IdCounts, IdRules

MAX_ID, EOS_ID = 300, 7


def rules(*, append_eos: bool = True) -> IdRules:
    return IdRules.of({"max_id": MAX_ID, "eos_token_id": EOS_ID}, append_eos=append_eos)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@given(
    documents=st.lists(st.lists(st.integers(0, 2**15), min_size=1, max_size=5), min_size=1, max_size=10),
    size=st.integers(1, 7),
)
def test_ids_outside_the_vocabulary_and_documents_without_eos_are_counted(dtype: type, documents: list[list[int]], size: int) -> None:
    ids = np.array([id_ for document in documents for id_ in document], dtype)
    lasts = np.cumsum([len(document) for document in documents]) - 1
    counts = IdCounts()
    for start in range(0, len(ids), size):
        stop = min(start + size, len(ids))
        counts += rules().count(ids[start:stop], lasts[(lasts >= start) & (lasts < stop)] - start)
    found = {check.name: check for check in rules().checks(counts)}
    beyond = sum(id_ > MAX_ID for document in documents for id_ in document)
    without = sum(document[-1] != EOS_ID for document in documents)
    assert found[VOCABULARY].numbers == {"tokens": len(ids), "largest id": max(map(max, documents)), "ids out of vocabulary": beyond}
    assert found[VOCABULARY].passed == (beyond == 0)
    assert found[EOS].numbers == {"documents": len(documents), "documents without EOS": without}
    assert found[EOS].passed == (without == 0)


def test_negative_ids_are_outside_the_vocabulary() -> None:
    counts = rules().count(np.array([5, -1, EOS_ID], np.int32), np.array([2]))
    vocabulary, eos = rules().checks(counts)
    assert not vocabulary.passed
    assert vocabulary.found == "1 of 3 ids are not in the tokenizer's vocabulary, which ends at 300"
    assert eos.passed


def test_undeclared_eos_is_not_checked() -> None:
    undeclared = rules(append_eos=False)
    counts = undeclared.count(np.array([5, 6], np.uint16), np.array([1]))
    assert [check.name for check in undeclared.checks(counts)] == [VOCABULARY]


def test_checks_pass_without_documents() -> None:
    assert all(check.passed for check in rules().checks(IdCounts()))
