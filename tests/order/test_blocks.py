"""The next use of each block of a shuffle within a window."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from phyagi_assets.declare.mixture_schema import MixturePart
from phyagi_assets.formats.plan import Window
from phyagi_assets.order.mixture_order import MixtureOrder
from tests.order.plans import plan_of, sized


@settings(max_examples=6)
@given(window=st.integers(50, 200), position=st.integers(0, 400), weight=st.sampled_from([0.5, 1.0, 2.0]))
def test_next_use_and_rest_of_a_block_are_those_of_the_order(window: int, position: int, weight: float) -> None:
    found = {"one": [sized("a", train=250), sized("b", train=151)], "two": [sized("c", train=301)]}
    parts = [MixturePart(corpus="one"), MixturePart(corpus="two", weight=weight)]
    order = MixtureOrder(plan_of(found, parts, shuffle=Window(window=window)), "train")
    (blocks,) = order.blocks()
    assert set(blocks.shards) == {0, 1, 2}
    located = order.locate(np.arange(position, position + 2000))
    runs = order.runs(located)
    shard = runs.shard[runs.at == 0]
    group = np.array([blocks.shards[of].group for of in shard])
    first = np.array([blocks.shards[of].first for of in shard])
    number = (located.start - first) // np.array([blocks.shards[of].tokens for of in shard])
    for of in range(2):
        samples, block = int(blocks.samples[of]), int(blocks.block[of])
        numbers = list(range(-(-samples // block)))
        moment = blocks.moment(position)
        groups = np.full(len(numbers), of)
        asked = blocks.next_uses, blocks.share_to_come, blocks.begins
        uses, shares, begins = (found(groups, np.array(numbers), moment).tolist() for found in asked)
        true = [position + int(np.flatnonzero((group == of) & (number == one))[0]) for one in numbers]
        slot = (block + 2) / float(blocks.share[of]) + 4
        drawn = int(blocks.drawn(position)[of])
        epoch = located.epoch == drawn // samples
        for one in numbers:
            left = int(((group == of) & (number == one) & epoch).sum())
            size = min(block, samples - one * block)
            share = shares[one]
            assert abs(share * size - left) <= 1 or (left <= 1 and share == 1.0)
            assert begins[one] == uses[one] if begins[one] > position else left < size or true[one] <= position + slot
            assert uses[one] <= true[one] + slot
            assert uses[one] >= true[one] - slot or share * size <= 1  # its last sample is in this slot, and may have been read
