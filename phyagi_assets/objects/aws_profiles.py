"""Settings of S3 from the profile files of AWS's tools, ``~/.aws/config`` and ``~/.aws/credentials``.

obstore reads the environment, the roles of containers and the roles of machines, but not these files.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from phyagi_assets.errors import PhyagiAssetsError, SourceError
from phyagi_assets.objects.kinds import S3
from phyagi_assets.settings import user_folder

_KEYS = {"aws_access_key_id": "access_key_id", "aws_secret_access_key": "secret_access_key", "aws_session_token": "session_token"}
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", *S3.addresses)
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_BY_OTHERS = ("role_arn", "sso_session", "sso_start_url", "login_session", "web_identity_token_file")
"""Keys of a profile whose credentials have to be requested from a service of AWS."""


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Settings:
    """Settings of a client of S3 that obstore does not find itself."""

    config: Mapping[str, str] = field(default_factory=dict)
    """Configuration of `obstore.store.S3Store`."""
    credential_provider: Callable[[], Mapping[str, Any]] | None = None


def s3_settings() -> S3Settings:
    """Return the settings of the profile named by ``AWS_PROFILE``, or of the default profile.

    The environment precedes the profile. A profile without keys is read in one of two ways: its ``credential_process`` is run, or boto3
    requests the credentials if it is installed.

    Raises
    ------
    SourceError
        The profile does not exist, a file is not valid, or the profile's credentials cannot be read.
    """
    name, profile, services = _profile()
    found: dict[str, str] = {}
    if profile.get("region") and not any(os.environ.get(variable) for variable in _REGIONS):
        found["region"] = profile["region"]
    endpoint = _nested(services.get("s3", "")).get("endpoint_url") or profile.get("endpoint_url")
    if endpoint and not any(os.environ.get(variable) for variable in _ENDPOINTS):
        found["endpoint"] = endpoint
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return S3Settings(config=found)
    if "aws_access_key_id" in profile:
        return S3Settings(config=found | {ours: profile[theirs] for theirs, ours in _KEYS.items() if theirs in profile})
    return S3Settings(config=found, credential_provider=_provider(name, profile))


def _profile() -> tuple[str, Mapping[str, str], Mapping[str, str]]:
    """Return the name and the settings of the profile, and those of the section of services that it names."""
    named = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")
    name = named or "default"
    config, credentials = _read("AWS_CONFIG_FILE", "config"), _read("AWS_SHARED_CREDENTIALS_FILE", "credentials")
    profile = config.get(f"profile {name}", {}) | (config.get(name, {}) if name == "default" else {}) | credentials.get(name, {})
    if named and not profile:
        raise SourceError(f"AWS_PROFILE: profile {name!r} is not in ~/.aws/config or ~/.aws/credentials")
    return name, profile, config.get(f"services {profile.get('services')}", {})


def _provider(name: str, profile: Mapping[str, str]) -> Callable[[], Mapping[str, Any]] | None:
    """Return the provider of the credentials of a profile without keys; None if the profile names no source of any."""
    if command := profile.get("credential_process"):
        return lambda: _from_process(name, command)
    key = next((key for key in _BY_OTHERS if key in profile), None)
    return _from_boto3(name, key) if key else None


def s3_endpoint(settings: S3Settings) -> str:
    """Return the address of the server of S3, or an empty string if it is that of AWS."""
    return next((os.environ[variable] for variable in _ENDPOINTS if os.environ.get(variable)), settings.config.get("endpoint", ""))


def _read(variable: str, name: str) -> dict[str, dict[str, str]]:
    """Read a profile file; return the settings of each section, none if the user has no home folder."""
    try:
        path = user_folder(variable, f"~/.aws/{name}")
    except PhyagiAssetsError:
        return {}
    parser = ConfigParser(interpolation=None, default_section="", strict=False)
    try:
        if path.exists():
            parser.read_string(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, ConfigError) as problem:
        raise SourceError(f"{path} is not a valid file of AWS profiles: {type(problem).__name__}") from None  # its text may hold secrets
    return {" ".join(shlex.split(section)): dict(parser[section]) for section in parser.sections()}


def _nested(text: str) -> dict[str, str]:
    """Return the settings in the indented lines of a value."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _from_process(profile: str, command: str) -> Mapping[str, Any]:
    """Run the ``credential_process`` of a profile."""
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, check=True)
        found = json.loads(done.stdout)
        expires = found.get("Expiration")
        return {
            "access_key_id": found["AccessKeyId"],
            "secret_access_key": found["SecretAccessKey"],
            "token": found.get("SessionToken"),
            "expires_at": datetime.fromisoformat(expires) if expires else None,
        }
    except (OSError, subprocess.CalledProcessError, ValueError, KeyError, AttributeError) as problem:
        message = f"the credential_process of profile {profile!r} in ~/.aws/config gives no credentials: {type(problem).__name__}"
        raise SourceError(f"{message}; run it to see why") from None


def _from_boto3(profile: str, key: str) -> Callable[[], Mapping[str, Any]]:
    """Return a provider that lets boto3 request the credentials of a profile."""
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise SourceError(
            f"profile {profile!r} has {key}, which only boto3 can read: pip install boto3, or put the credentials into the environment: "
            f'eval "$(aws configure export-credentials --profile {profile} --format env)"'
        ) from None
    try:
        return Boto3CredentialProvider(boto3.Session(profile_name=profile))
    except Exception as problem:  # boto3 raises many kinds, all about the profile
        raise SourceError(f"profile {profile!r} in ~/.aws/config gives no credentials: {type(problem).__name__}: {problem}") from None
