"""Small objects are fetched with their beginning, and kept until they are read."""

from phyagi_assets.sources.small_objects import SmallObjects

CONTENT = bytes(range(100))


def test_parts_are_fetched_once_with_the_beginning_and_alone_when_all_was_read() -> None:
    objects, fetched = SmallObjects(), list[tuple[int, int]]()

    def fetch(start: int, stop: int) -> bytes:
        fetched.append((start, stop))
        return CONTENT[start:stop]

    def read(start: int, stop: int) -> bytes:
        return objects.read("s3://bucket/a", ("etag",), (start, stop), len(CONTENT), fetch)

    parts = [(0, 8), (60, 100), (0, 30), (30, 60)]
    assert [read(*part) for part in parts] == [CONTENT[start:stop] for start, stop in parts]
    assert fetched == [(0, 100)]
    assert (read(50, 60), read(0, 100)) == (CONTENT[50:60], CONTENT)
    assert fetched == [(0, 100), (50, 60), (0, 100)]
