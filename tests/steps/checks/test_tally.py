"""Tally of ids outside the vocabulary and documents without EOS, for any division into blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.steps.checks.tally import EOS, VOCABULARY, TokenTally

MAX_ID, EOS_ID = 300, 7


def tally(*, append_eos: bool = True) -> TokenTally:
    return TokenTally({"max_id": MAX_ID, "eos_token_id": EOS_ID}, append_eos=append_eos)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32])
@given(
    documents=st.lists(st.lists(st.integers(0, 2**15), min_size=1, max_size=5), min_size=1, max_size=10),
    size=st.integers(1, 7),
)
def test_tally_counts_ids_outside_the_vocabulary_and_documents_without_eos(dtype: type, documents: list[list[int]], size: int) -> None:
    ids = np.array([id_ for document in documents for id_ in document], dtype)
    lasts = np.cumsum([len(document) for document in documents]) - 1
    looked = tally()
    for start in range(0, len(ids), size):
        stop = min(start + size, len(ids))
        looked.add(ids[start:stop], lasts[(lasts >= start) & (lasts < stop)] - start)
    found = {check.name: check for check in looked.checks()}
    beyond = sum(id_ > MAX_ID for document in documents for id_ in document)
    without = sum(document[-1] != EOS_ID for document in documents)
    assert found[VOCABULARY].numbers == {"tokens": len(ids), "largest id": max(map(max, documents)), "ids out of vocabulary": beyond}
    assert found[VOCABULARY].passed == (beyond == 0)
    assert found[EOS].numbers == {"documents": len(documents), "documents without EOS": without}
    assert found[EOS].passed == (without == 0)


def test_tally_counts_negative_ids_as_outside_the_vocabulary() -> None:
    looked = tally()
    looked.add(np.array([5, -1, EOS_ID], np.int32), np.array([2]))
    vocabulary, eos = looked.checks()
    assert not vocabulary.passed
    assert vocabulary.found == "1 of 3 ids are not in the tokenizer's vocabulary, which ends at 300"
    assert eos.passed


def test_tally_without_a_declared_eos_does_not_check_it() -> None:
    looked = tally(append_eos=False)
    looked.add(np.array([5, 6], np.uint16), np.array([1]))
    assert [check.name for check in looked.checks()] == [VOCABULARY]


def test_tally_of_no_documents_passes() -> None:
    assert all(check.passed for check in tally().checks())
