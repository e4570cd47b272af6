"""Settings of S3 from the profile files of AWS's tools."""

import sys
from pathlib import Path

import pytest

from phyagi_assets.errors import SourceError
from phyagi_assets.objects.aws_profiles import s3_endpoint, s3_settings
from phyagi_assets.objects.retries import RetryPolicy
from phyagi_assets.steps.step import Workspace
from tests.support import declare_corpus, write_text

CONFIG = """
[default]
region = eu-west-1

[profile lake]
region = us-west-2
services = near

[services near]
s3 =
  endpoint_url = http://127.0.0.1:9

[profile team]
sso_session = team

[profile helper]
credential_process = PYTHON -c "print('{\\"AccessKeyId\\": \\"key\\", \\"SecretAccessKey\\": \\"secret\\", \\"Expiration\\": \\"2030-01-01T00:00:00Z\\"}')"

[profile broken]
credential_process = PYTHON -c "exit(1)"
"""  # noqa: E501
CREDENTIALS = (
    "[default]\naws_access_key_id = one\naws_secret_access_key = two\n[lake]\naws_access_key_id = three\naws_secret_access_key = %four\n"
)


@pytest.fixture(autouse=True)
def _profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROFILE", "DEFAULT_PROFILE", "ACCESS_KEY_ID", "REGION", "DEFAULT_REGION", "ENDPOINT_URL", "ENDPOINT_URL_S3", "ENDPOINT"):
        monkeypatch.delenv(f"AWS_{name}", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(write_text(tmp_path / "aws" / "config", CONFIG.replace("PYTHON", sys.executable))))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(write_text(tmp_path / "aws" / "credentials", CREDENTIALS)))


def test_default_profile_is_read_if_none_is_named(tmp_path: Path) -> None:
    assert s3_settings().config == {"region": "eu-west-1", "access_key_id": "one", "secret_access_key": "two"}
    write_text(tmp_path / "aws" / "credentials", f"\ufeff{CREDENTIALS}")
    assert s3_settings().config == {"region": "eu-west-1", "access_key_id": "one", "secret_access_key": "two"}


def test_named_profile_gives_keys_region_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lake")
    found = s3_settings()
    assert found.config == {
        "region": "us-west-2",
        "endpoint": "http://127.0.0.1:9",
        "access_key_id": "three",
        "secret_access_key": "%four",
    }
    assert s3_endpoint(found) == "http://127.0.0.1:9"


def test_environment_precedes_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "lake")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://host")
    assert s3_settings().config == {}
    assert s3_endpoint(s3_settings()) == "https://host"


def test_credential_process_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "helper")
    provider = s3_settings().credential_provider
    assert provider is not None
    found = provider()
    assert (found["access_key_id"], found["secret_access_key"], found["token"]) == ("key", "secret", None)
    assert found["expires_at"].isoformat() == "2030-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ("nobody", r"s3://raw/: AWS_PROFILE: profile 'nobody' is not in ~/\.aws/config or ~/\.aws/credentials"),
        ("team", r"s3://raw/: profile 'team' has sso_session, which only boto3 can read: pip install boto3, or put"),
        (
            "broken",
            r"s3://raw/: the credential_process of profile 'broken' in ~/\.aws/config gives no credentials: CalledProcessError; run it",
        ),
    ],
)
def test_profile_without_credentials_is_named(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, profile: str, message: str) -> None:
    monkeypatch.setenv("AWS_PROFILE", profile)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    quick = Workspace(data=workspace.data, store=workspace.store, retry_policy=RetryPolicy(attempts=2, pause=0.0))
    with pytest.raises(SourceError, match=message):
        quick.sources.partitions(declare_corpus(workspace.data, "corpus", "s3://raw/*.txt"))


def test_file_that_is_not_valid_is_named_without_its_text(tmp_path: Path) -> None:
    write_text(tmp_path / "aws" / "credentials", "aws_secret_access_key = the-secret\n")
    with pytest.raises(SourceError, match=r"credentials is not a valid file of AWS profiles: MissingSectionHeaderError") as told:
        s3_settings()
    assert "the-secret" not in str(told.value)
