"""Builds the S3 client that boto3 would, and names its failures.

Uses botocore sessions of its own, so that nothing of boto3's process-wide default session is shared, and
one loader of service descriptions, which makes the second client cost 10 ms instead of 60. Imported at the
first request, in a worker thread: it costs a tenth of a second, as the first client does.
"""

import os
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions
from botocore.config import Config
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError
from botocore.session import Session
from urllib3.exceptions import HTTPError

from dtool_s3.errors import (
    BadDigest,
    BucketUnreachable,
    CredentialsRejected,
    RequestRefused,
    SettingsError,
    StorageError,
    storage_error,
)
from dtool_s3.settings import Addressing, Credentials, Endpoint
from dtool_s3.store.boto.wire import adapt

CONNECT_TIMEOUT_SECONDS = 10

#: Everything a call of the client, or reading a body, may raise.
FAILURES = (exceptions.BotoCoreError, exceptions.ClientError, ResponseParserError, HTTPError, OSError)

_CREDENTIAL_FAILURES = (
    exceptions.NoCredentialsError,
    exceptions.PartialCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.UnknownCredentialError,
    exceptions.NoAuthTokenError,
    exceptions.TokenRetrievalError,
    exceptions.SSOError,
)
_BROKEN_ANSWERS = (
    exceptions.ConnectionError,
    exceptions.HTTPClientError,
    exceptions.IncompleteReadError,
    ResponseParserError,
    HTTPError,
    OSError,
)
_DIGEST_FAILURES = (exceptions.ChecksumError, exceptions.FlexibleChecksumError)

_USER_INFO = re.compile("//[^/@]*@")
# botocore's own "auto": names of buckets go into the path of every URL that is given, into AWS's host names
_ADDRESSING = {Addressing.AUTO: "auto", Addressing.PATH: "path", Addressing.VIRTUAL: "virtual"}

_building = threading.Lock()  # sessions and loaders are not made for threads
_loader = Loader(include_default_search_paths=True)


def _forget_after_fork() -> None:
    """Give the child a lock of its own: the parent's may be held by a thread that does not exist here."""
    global _building  # noqa: PLW0603 - one lock per process
    _building = threading.Lock()


os.register_at_fork(after_in_child=_forget_after_fork)


def open_session(endpoint: Endpoint) -> Session:
    """Open a botocore session: what the AWS chain says where `endpoint` and its profile leave it open.

    A profile that does not exist is noticed by `build_client`.
    """
    with _building:
        session = Session(profile=endpoint.profile)
        session.register_component("data_loader", _loader)
        return session


def build_client(
    session: Session,
    endpoint: Endpoint,
    credentials: Credentials | None,
    *,
    max_connections: int,
    read_timeout_seconds: int,
) -> Any:
    """Build an S3 client. Raises SettingsError.

    None for credentials: the AWS chain gives what `endpoint` leaves open (keys, region, AWS_ENDPOINT_URL).
    With credentials, requests signed by them go to `endpoint`, or to that of its profile, and nowhere else.
    """
    if endpoint.ca_bundle is not None and not os.access(endpoint.ca_bundle, os.R_OK):
        raise SettingsError(f"the CA bundle {endpoint.ca_bundle!r} cannot be read")

    is_explicit = credentials is not None and endpoint.profile is None
    with _building:
        try:
            client = session.create_client(
                "s3",
                region_name=endpoint.region,
                endpoint_url=endpoint.url,
                verify=endpoint.ca_bundle,
                config=_config(endpoint, max_connections, read_timeout_seconds, is_explicit),
                **_keys(credentials),
            )
        except ValueError as error:
            shown = _USER_INFO.sub("//***@", str(endpoint.url))
            raise SettingsError(f"the endpoint {shown!r} is not a URL that can be used") from error
        except exceptions.ProfileNotFound as error:
            raise SettingsError(f"the AWS configuration cannot be used: {error}") from error
        except _CREDENTIAL_FAILURES as error:
            raise translate(
                error, f"reading the credentials for {_host(endpoint, error)}", endpoint
            ) from error
        except exceptions.BotoCoreError as error:
            name = type(error).__name__
            raise SettingsError(f"the AWS configuration cannot be used ({name})") from error
    adapt(client)
    return client


def _keys(credentials: Credentials | None) -> dict[str, str | None]:
    if credentials is None:
        return {}
    token = credentials.session_token
    return {
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key.reveal(),
        "aws_session_token": None if token is None else token.reveal(),
    }


def _config(endpoint: Endpoint, max_connections: int, read_timeout_seconds: int, is_explicit: bool) -> Config:
    return Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=read_timeout_seconds,
        tcp_keepalive=True,
        max_pool_connections=max_connections,
        signature_version="s3v4",  # said explicitly, or URLs would be signed with version 2
        # no repetition inside botocore: one that we do not see would turn the lost answer to our own
        # conditional write into PreconditionFailed; "standard" because "legacy" retries a few by itself
        retries={"mode": "standard", "total_max_attempts": 1},
        # the Content-MD5 that we send protects the bytes everywhere; the CRC trailers that are the
        # default since boto3 1.36 are refused by several other servers
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": _ADDRESSING[endpoint.addressing]},
        ignore_configured_endpoint_urls=is_explicit,
    )


def translate(error: Exception, what: str, endpoint: Endpoint) -> StorageError:
    """Name a failure of `what` (an operation, bucket and key) in our terms.

    The message holds no text of the server and no URL but the endpoint's host.
    """
    if isinstance(error, exceptions.ClientError):
        return _refusal(error.response, what)
    name = type(error).__name__
    if isinstance(error, _CREDENTIAL_FAILURES):
        return CredentialsRejected(f"{what}: no usable credentials were found ({name})", code=name)
    if isinstance(error, _DIGEST_FAILURES):
        return BadDigest(f"{what}: the bytes changed on the way ({name})", code=name)
    if isinstance(error, _BROKEN_ANSWERS):
        return BucketUnreachable(f"{what}: no answer from {_host(endpoint, error)} ({name})", code=name)
    return RequestRefused(f"{what}: the request is not valid ({name})", code=name)


def _refusal(response: Mapping[str, Any], what: str) -> StorageError:
    code = str(response.get("Error", {}).get("Code", ""))
    answer = response.get("ResponseMetadata", {})
    status = int(answer.get("HTTPStatusCode", 0))
    said = f"HTTP {status}" if code in {"", str(status)} else f"{code} (HTTP {status})"
    if code == "RequestTimeTooSkewed":
        said += _clock_offset(answer.get("HTTPHeaders", {}).get("date", ""))
    return storage_error(code, status, f"{what}: {said}")


def _clock_offset(date_header: str) -> str:
    try:
        offset = datetime.now(UTC) - parsedate_to_datetime(date_header)
    except (TypeError, ValueError):
        return ""
    return f", this clock is {offset.total_seconds():+.0f} s from the server's"


def _host(endpoint: Endpoint, error: Exception) -> str:
    """Host and port only: a URL may carry a user and password. The AWS chain's own URL is in the error."""
    url = endpoint.url or getattr(error, "kwargs", {}).get("endpoint_url")
    if not url:
        return f"AWS S3 ({endpoint.region})" if endpoint.region else "AWS S3"
    parts = urlsplit(url)
    return parts.hostname or "the endpoint" if parts.port is None else f"{parts.hostname}:{parts.port}"
