"""Encoding of batches in the threads of a process."""

import threading
from contextlib import closing
from itertools import count

import pytest

from phyagi_assets.steps.encoding import encode_in_order


@pytest.mark.parametrize(("processors", "renders", "threads"), [(1, False, 1), (2, False, 3), (2, True, 2), (4, False, 4)])
def test_a_thread_beyond_the_processors_encodes_text_but_renders_no_conversations(
    monkeypatch: pytest.MonkeyPatch, processors: int, renders: bool, threads: int
) -> None:
    monkeypatch.setenv("RAYON_NUM_THREADS", str(processors))
    before = set(threading.enumerate())
    with closing(encode_in_order(count(), lambda place, item: (place, item), size=lambda _item: 1, renders=renders)) as encoded:
        assert [next(encoded) for _ in range(3)] == [(0, 0), (1, 1), (2, 2)]
        assert len(set(threading.enumerate()) - before) == threads
