import gc

from phyagi_assets.cli.collector import few_collections


def test_collector_runs_seldom_in_a_command_and_as_before_afterwards():
    before = gc.get_threshold()
    with few_collections():
        during = gc.get_threshold()
        [[] for _ in range(10 * before[0])]
        started = gc.get_stats()[0]["collections"]
        kept = [[] for _ in range(10 * before[0])]
        assert gc.get_stats()[0]["collections"] - started <= len(kept) // during[0] + 1
    assert during[0] > before[0]
    assert gc.get_threshold() == before
