"""Errors show no credentials."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import DeclarationError, SourceError, redacted

SECRET = st.text("abcXYZ0189/+=@:._-", min_size=4)


@given(scheme=st.sampled_from(["https://", "S3://", "hf://", "s3:/", "ftp://"]), secret=SECRET)
def test_a_password_in_a_url_is_not_shown(scheme: str, secret: str) -> None:
    text = f"{scheme}user:{secret}QQ@host/a.txt is not a source"
    assert redacted(text) == f"{scheme}***@host/a.txt is not a source"
    assert "QQ" not in str(DeclarationError(Path("a.yaml"), text, line=3, key="source.path"))


@pytest.mark.parametrize("text", ["hf://org/name@main is gone", "s3://bucket/a@b:c", "a: b@c", "user@example.org", "raw/a?b"])
def test_other_text_is_shown_as_it_is(text: str) -> None:
    assert str(SourceError(text)) == text


def test_an_error_is_the_same_in_another_process() -> None:
    problem = pickle.loads(pickle.dumps(DeclarationError(Path("a.yaml"), "https://u:p@h", line=3)))
    assert (str(problem), problem.line) == ("a.yaml:3: https://***@h", 3)
