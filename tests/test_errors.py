"""Errors contain no credentials, and name the work that ran out of memory."""

import errno
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phyagi_assets.errors import (
    DeclarationError,
    OutOfMemoryError,
    SourceError,
    StoreAccessError,
    TooManyFilesError,
    redacted,
    translate_limit_errors,
)

SECRET = st.text("abcXYZ0189/+=@:._-", min_size=4)


@given(scheme=st.sampled_from(["https://", "S3://", "hf://", "s3:/", "ftp://"]), secret=SECRET)
def test_password_in_a_url_is_redacted(scheme: str, secret: str) -> None:
    text = f"{scheme}user:{secret}QQ@host/a.txt is not a source"
    assert redacted(text) == f"{scheme}***@host/a.txt is not a source"
    assert "QQ" not in str(DeclarationError(Path("a.yaml"), text, line=3, key="source.path"))


@pytest.mark.parametrize("text", ["hf://org/name@main is gone", "s3://bucket/a@b:c", "a: b@c", "user@example.org", "raw/a?b"])
def test_text_without_credentials_is_not_changed(text: str) -> None:
    assert str(SourceError(text)) == text


def test_pickled_error_keeps_its_message_and_attributes() -> None:
    problem = pickle.loads(pickle.dumps(DeclarationError(Path("a.yaml"), "https://u:p@h", line=3)))
    assert (str(problem), problem.line) == ("a.yaml:3: https://***@h", 3)


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        MemoryError("malloc of size 64 failed"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch.so: failed to map segment from shared object"),
    ],
)
def test_out_of_memory_error_names_the_work_that_needed_the_memory(problem: Exception) -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"^plays/one: needs more memory than this process may use.*; raise the limit"),
        translate_limit_errors("plays/one"),
    ):
        raise problem


def test_error_about_threads_names_the_work_and_the_limits_to_raise() -> None:
    with (
        pytest.raises(OutOfMemoryError, match=r"^plays/one: needs more threads or memory .*ulimit -u"),
        translate_limit_errors("plays/one"),
    ):
        raise RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError, match="another"), translate_limit_errors("plays/one"):
        raise RuntimeError("another")


def test_error_about_open_files_names_the_work_and_the_limit_to_raise() -> None:
    with (
        pytest.raises(TooManyFilesError, match=r"^plays/one: needs more open files.*a\.arrow.*ulimit -n"),
        translate_limit_errors("plays/one"),
    ):
        raise OSError(errno.EMFILE, "Too many open files", "a.arrow")
    refused = StoreAccessError.of("a.arrow", OSError(errno.EMFILE, "Too many open files"))
    assert str(refused) == "a.arrow: cannot be read: Too many open files; raise the limit (ulimit -n)"


def test_full_disk_is_not_an_out_of_memory_error() -> None:
    with pytest.raises(OSError, match="No space left") as raised, translate_limit_errors("plays/one"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.errno == errno.ENOSPC
