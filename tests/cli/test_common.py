"""How commands print failures."""

import pytest

from phyagi_assets.cli.common import FAILED, exit_after


def test_what_failed_for_the_same_reason_is_one_line_with_the_first_names(capsys: pytest.CaptureFixture[str]) -> None:
    same = {f"news/{i}": "the server is down" for i in range(7)}
    with pytest.raises(SystemExit) as end:
        exit_after({"news/a": "no text", **same}, [])
    assert end.value.code == FAILED
    assert capsys.readouterr().err.splitlines() == [
        "error: news/a: no text",
        "error: news/0, news/1, news/2, news/3, news/4 and 2 more: the server is down",
    ]
