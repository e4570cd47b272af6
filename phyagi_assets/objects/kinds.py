"""The kinds of object stores, and the environment variables that set up their clients."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of object store."""

    scheme: str
    """Beginning of the URIs of its objects."""
    name: str
    """Name for messages."""
    credentials: str
    """Places that credentials come from, for messages."""
    unsigned: str
    """Environment variable that says that requests carry no credentials."""
    addresses: tuple[str, ...]
    """Environment variables that hold the address of the server; messages name the first one."""


S3 = Kind(
    scheme="s3://",
    name="S3",
    credentials="AWS_PROFILE, AWS_ACCESS_KEY_ID, ~/.aws",
    unsigned="AWS_SKIP_SIGNATURE",
    addresses=("AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
)
GCS = Kind(
    scheme="gs://",
    name="Google Cloud Storage",
    credentials="GOOGLE_APPLICATION_CREDENTIALS, gcloud auth application-default login",
    unsigned="GOOGLE_SKIP_SIGNATURE",
    addresses=("GOOGLE_BASE_URL", "STORAGE_EMULATOR_HOST"),
)
AZURE = Kind(
    scheme="az://",
    name="Azure",
    credentials="AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN, AZURE_USE_AZURE_CLI",
    unsigned="AZURE_SKIP_SIGNATURE",
    addresses=("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
)
KINDS = {kind.scheme: kind for kind in (S3, GCS, AZURE)}
"""Kinds of object stores by scheme."""
SCHEMES = tuple(KINDS)
