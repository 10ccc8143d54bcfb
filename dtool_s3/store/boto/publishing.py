"""URLs of objects, signed and public, and who may read them; owns no state.

A signed URL is a secret until it expires: none is in a message or a log of ours.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

from dtool_s3.errors import NotSupported, SettingsError, StorageError
from dtool_s3.store.boto.connection import Client, Connection
from dtool_s3.store.boto.target import Target
from dtool_s3.store.protocol import UrlRequest
from dtool_s3.store.signature import UrlSigner

#: What Signature Version 4 allows.
MAX_EXPIRES_SECONDS = 7 * 24 * 3600

_METADATA = "x-amz-meta-"
_PARAMETERS = {"content-md5": "ContentMD5", "content-type": "ContentType"}
_OPERATIONS = {"GET": "get_object", "PUT": "put_object"}
_ACL_OPERATIONS = {"public-read": "make_public", "private": "make_private"}


async def presign(
    connection: Connection, method: str, key: str, expires_seconds: int, headers: Mapping[str, str]
) -> str:
    """Sign a URL with the credentials as they are now; sends nothing to the bucket."""
    if method not in _OPERATIONS:
        raise SettingsError(f"a URL is signed for GET or PUT, not for {method!r}")
    _check_expiry(expires_seconds)
    parameters = _signed_parameters(headers)

    def sign(client: Client) -> str:
        url: str = client.generate_presigned_url(
            _OPERATIONS[method],
            Params={"Bucket": connection.bucket, "Key": key, **parameters},
            ExpiresIn=expires_seconds,
        )
        return url

    return await connection.prepare("presign", key, sign)


async def sign_urls(
    connection: Connection, requests: Sequence[UrlRequest], expires_seconds: int
) -> Sequence[str]:
    """Sign many URLs with the credentials as they are now; sends nothing to the bucket."""
    _check_expiry(expires_seconds)
    target = await connection.find_target()
    if target is None:
        message = f"requests to {connection.place('')} are not signed in a way that a URL could carry"
        raise NotSupported(message, code="NotImplemented")
    return await asyncio.to_thread(_sign_all, target, requests, expires_seconds)


def _sign_all(target: Target, requests: Sequence[UrlRequest], expires_seconds: int) -> Sequence[str]:
    signer, now = UrlSigner(target.url, target.region, target.read_credentials()), datetime.now(UTC)
    return [signer.sign(request, now=now, expires_seconds=expires_seconds) for request in requests]


def _check_expiry(expires_seconds: int) -> None:
    if not 0 < expires_seconds <= MAX_EXPIRES_SECONDS:
        raise SettingsError(f"a signed URL lives 1 second to 7 days, not {expires_seconds} seconds")


def _signed_parameters(headers: Mapping[str, str]) -> dict[str, object]:
    parameters: dict[str, object] = {}
    metadata: dict[str, str] = {}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered.startswith(_METADATA):
            metadata[lowered.removeprefix(_METADATA)] = value
        elif lowered in _PARAMETERS:
            parameters[_PARAMETERS[lowered]] = value
        else:
            raise SettingsError(f"the header {name!r} cannot be part of a signed URL")
    return {**parameters, "Metadata": metadata} if metadata else parameters


def public_url(connection: Connection, key: str) -> str:
    """URL without a signature, as the client would address the object; makes the client if there is none."""

    def address(client: Client) -> str:
        url: str = client.generate_presigned_url(
            "get_object", Params={"Bucket": connection.bucket, "Key": key}, ExpiresIn=MAX_EXPIRES_SECONDS
        )
        return url.partition("?")[0]

    return connection.prepare_here("public_url", key, address)


async def put_acl(connection: Connection, key: str, acl: str) -> None:
    """Give an object a canned ACL. Raises NotSupported where the server or the bucket has none."""
    try:
        await connection.ask(
            _ACL_OPERATIONS[acl],
            key,
            lambda client: client.put_object_acl(Bucket=connection.bucket, Key=key, ACL=acl),
        )
    except StorageError as error:
        if error.code != "AccessControlListNotSupported":
            raise
        message = (
            f"{connection.place(key)}: the bucket has ACLs disabled (object ownership: bucket owner "
            "enforced); publish with an expiry, or by the bucket's policy"
        )
        raise NotSupported(message, code=error.code) from error


async def fetch_unsigned(connection: Connection, url: str, max_bytes: int) -> bytes:
    """GET a URL as a stranger would: without credentials, following redirects on the same host only."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SettingsError("only http and https URLs can be fetched")
    key = unquote(parts.path).removeprefix("/").removeprefix(f"{connection.bucket}/")
    return await connection.ask("fetch_unsigned", key, lambda _: _fetch(connection, url, max_bytes))


def _fetch(connection: Connection, url: str, max_bytes: int) -> bytes:
    from dtool_s3.store.boto.fetching import fetch  # noqa: PLC0415 - urllib3 loads at the first request

    return fetch(url, ca_bundle=connection.endpoint.ca_bundle, max_bytes=max_bytes)
