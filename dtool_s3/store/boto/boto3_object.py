"""boto3's own objects for code that asks the broker for them, and stores made from such objects.

The library's requests are made in `dtool_s3.store.boto.client`; nothing here is shared with them but endpoint
and keys. The only module that imports boto3: it is loaded when somebody asks.
"""

import logging
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config

from dtool_s3.settings import Addressing, Credentials, CredentialsSource, Endpoint, Secret
from dtool_s3.store.s3 import S3Store

logger = logging.getLogger(__name__)

_ADDRESSING = {Addressing.AUTO: "auto", Addressing.PATH: "path", Addressing.VIRTUAL: "virtual"}
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")


def open_client(endpoint: Endpoint, credentials: Credentials | None, *, is_unsigned: bool = False) -> Any:
    """Return a boto3 S3 client of a session of its own; unsigned ones make URLs for strangers."""
    signature = UNSIGNED if is_unsigned else "s3v4"
    return _session(endpoint, credentials).client("s3", **_options(endpoint, signature))


def open_resource(endpoint: Endpoint, credentials: Credentials | None) -> Any:
    """Return a boto3 S3 resource of a session of its own."""
    return _session(endpoint, credentials).resource("s3", **_options(endpoint, "s3v4"))


def adopt_client(client: Any, bucket: str) -> S3Store:
    """Return a store with the endpoint, the region, the CA bundle and the credentials of a boto3 client.

    Of its other settings none are taken over: retries and timeouts are the store's, and certificates are
    verified also where the client would not (`verify=False`), which is logged.
    """
    config, verify = client.meta.config, _verify(client)
    if verify is False and client.meta.endpoint_url.startswith("https:"):
        logger.warning("certificates_are_verified endpoint=%s", client.meta.endpoint_url)
    styles = {style: addressing for addressing, style in _ADDRESSING.items()}
    endpoint = Endpoint(
        url=_endpoint_url(client.meta.endpoint_url),
        region=client.meta.region_name,
        addressing=styles.get((config.s3 or {}).get("addressing_style", "auto"), Addressing.AUTO),
        ca_bundle=verify if isinstance(verify, str) else None,
    )
    return S3Store(endpoint, bucket, _credentials_source(client))


def _session(endpoint: Endpoint, credentials: Credentials | None) -> Any:
    if credentials is None:
        return boto3.session.Session(profile_name=endpoint.profile, region_name=endpoint.region)
    token = credentials.session_token
    return boto3.session.Session(
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key.reveal(),
        aws_session_token=None if token is None else token.reveal(),
        region_name=endpoint.region,
    )


def _options(endpoint: Endpoint, signature: object) -> dict[str, Any]:
    config = Config(
        signature_version=signature,
        # newer defaults are refused by several other servers
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _ADDRESSING[endpoint.addressing]},
    )
    return {"endpoint_url": endpoint.url, "verify": endpoint.ca_bundle, "config": config}


def _endpoint_url(url: str) -> str | None:
    """URL of an S3-compatible service; None for AWS, whose hosts depend on bucket and region."""
    host = urlsplit(url).hostname or ""
    return None if host.endswith(_AWS_HOSTS) else url


def _verify(client: Any) -> object:
    """What the client was given as `verify`; botocore keeps it where no public name leads to."""
    return getattr(client._endpoint.http_session, "_verify", None)  # noqa: SLF001 - see above


def _credentials_source(client: Any) -> CredentialsSource:
    """Credentials of a client as they are now: those of a role are renewed by botocore."""

    def source() -> Credentials | None:
        found = client._get_credentials()  # noqa: SLF001 - there is no public name
        if found is None:
            return None
        keys = found.get_frozen_credentials()
        token = Secret(keys.token) if keys.token else None
        return Credentials(keys.access_key, Secret(keys.secret_key), token)

    return source
