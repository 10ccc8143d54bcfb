"""Finds out where and how botocore sends a bucket's requests, by stopping one; sends nothing itself.

So addressing, profiles, AWS's endpoints and regions are decided in one place, also for the object loop.
"""

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from botocore import httpsession
from botocore.session import Session
from botocore.utils import get_environ_proxies

from dtool_s3.errors import CredentialsRejected
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.boto.client import FAILURES
from dtool_s3.store.boto.target import Target

_KEY = "key"
_SIGNED_FOR = re.compile(r"\AAWS4-HMAC-SHA256 Credential=.*/\d{8}/([^/]+)/s3/aws4_request,")


class _Stopped(Exception):
    """Raised in place of sending: carries the request out of botocore."""


def observe_target(
    client: Any, session: Session, *, endpoint: Endpoint, bucket: str, credentials: Credentials | None
) -> Target | None:
    """Return where `client` sends requests to `bucket`; None where only botocore can make them so.

    That is: signed otherwise than with Signature Version 4, or not at all. The client must not be in use
    elsewhere.
    """
    request = _stop_request(client, bucket)
    if request is None:
        return None
    url, scheme = request.url.removesuffix(f"/{_KEY}"), urlsplit(request.url).scheme
    signed_for = _SIGNED_FOR.match(_text(request.headers.get("Authorization", "")))
    if signed_for is None or url == request.url:
        return None
    is_direct = scheme not in get_environ_proxies(client.meta.endpoint_url)
    ca_bundle = _ca_bundle(session, endpoint) if scheme == "https" else None
    return Target(bucket, url, signed_for[1], ca_bundle, _credentials_reader(session, credentials), is_direct)


def _stop_request(client: Any, bucket: str) -> Any:
    def stop(request: Any, **_: object) -> None:
        raise _Stopped(request)

    events, event = client.meta.events, "before-send.s3.HeadObject"
    events.register_first(event, stop)
    try:
        client.head_object(Bucket=bucket, Key=_KEY)
    except _Stopped as stopped:
        return stopped.args[0]
    except FAILURES:  # no credentials, no such bucket name: the request itself will say so
        return None
    finally:
        events.unregister(event, stop)


def _text(header: str | bytes) -> str:
    return header.decode("ascii", "replace") if isinstance(header, bytes) else header


def _ca_bundle(session: Session, endpoint: Endpoint) -> str:
    """File of the authorities that botocore trusts, found as it finds it."""
    told = endpoint.ca_bundle or session.get_config_variable("ca_bundle")
    return str(told or os.environ.get("REQUESTS_CA_BUNDLE") or httpsession.where())


def _credentials_reader(session: Session, given: Credentials | None) -> Callable[[], Credentials]:
    if given is not None:
        return lambda: given
    found = session.get_credentials()

    def read() -> Credentials:
        try:
            keys = found.get_frozen_credentials()
        except FAILURES as error:
            name = type(error).__name__
            raise CredentialsRejected(f"the credentials could not be renewed ({name})", code=name) from error
        return Credentials(
            keys.access_key, Secret(keys.secret_key), Secret(keys.token) if keys.token else None
        )

    return read
