"""AWS credentials on a person's machine: profiles and single sign-on, which the function never
needs.
"""

import os

import boto3
from botocore.exceptions import BotoCoreError

from handler.errors import SettingsError


def use_region(region: str) -> None:
    """Have the object store use a region: it reads the environment only."""
    os.environ["AWS_REGION"] = region


def use_credentials_for(uri: str) -> None:
    """Put the credentials and the region of boto3's chain into the environment, for tables on S3.

    The object store of the function reads the environment only. Raises SettingsError.
    """
    if not uri.startswith("s3://") or os.environ.get("AWS_ACCESS_KEY_ID"):
        return
    try:
        session = boto3.Session()
        result = session.get_credentials()
        frozen = result.get_frozen_credentials() if result is not None else None
    except BotoCoreError as error:
        raise SettingsError(f"AWS credentials for {uri} cannot be read: {error}") from error
    if frozen is None:
        raise SettingsError(
            f"There are no AWS credentials for {uri}. Set AWS_PROFILE or AWS_ACCESS_KEY_ID, or log "
            "in (aws sso login)."
        )
    os.environ["AWS_ACCESS_KEY_ID"] = frozen.access_key
    os.environ["AWS_SECRET_ACCESS_KEY"] = frozen.secret_key
    if frozen.token:
        os.environ["AWS_SESSION_TOKEN"] = frozen.token
    if session.region_name:
        os.environ.setdefault("AWS_REGION", session.region_name)
