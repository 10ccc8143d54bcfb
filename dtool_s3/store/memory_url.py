"""URLs of a memory server, `memory://1/bucket/key`, signed or not: text and signatures; performs no I/O."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from dtool_s3.errors import AccessDenied, BucketUnreachable

MAX_EXPIRES_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Grant:
    """What a signed URL allows: one method, as somebody, until a time, with headers exactly so."""

    method: str
    identity: str | None
    expires: datetime
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL names; `grant` None: it is not signed."""

    bucket: str
    key: str
    grant: Grant | None


def build_url(endpoint_url: str, bucket: str, key: str) -> str:
    """Return the URL of an object."""
    return f"{endpoint_url}/{bucket}/{quote(key)}"


def sign_url(url: str, grant: Grant, secret: bytes) -> str:
    """Return `url` with a grant that only the holder of `secret` can give."""
    text = json.dumps(
        [grant.method, grant.identity, grant.expires.isoformat(), sorted(lowered(grant.headers).items())]
    )
    return f"{url}?{urlencode({'grant': text, 'signature': _signature(url, text, secret)})}"


def parse_url(url: str, endpoint_url: str, secret: bytes) -> Address:
    """Read a URL. Raises BucketUnreachable for another server's, AccessDenied for a wrong signature."""
    bare, _, query = url.partition("?")
    if not bare.startswith(f"{endpoint_url}/"):
        raise BucketUnreachable(f"nothing answers at {urlsplit(bare).netloc or 'this URL'}")
    bucket, _, key = bare.removeprefix(f"{endpoint_url}/").partition("/")
    if not query:
        return Address(bucket, unquote(key), None)
    fields = {name: values[-1] for name, values in parse_qs(query).items()}
    text = fields.get("grant", "")
    if not hmac.compare_digest(_signature(bare, text, secret), fields.get("signature", "")):
        raise AccessDenied(f"{bare}: the signature is wrong", code="SignatureDoesNotMatch")
    method, identity, expires, headers = json.loads(text)
    grant = Grant(method, identity, datetime.fromisoformat(expires), dict(headers))
    return Address(bucket, unquote(key), grant)


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with lower-case names."""
    return {name.lower(): value for name, value in headers.items()}


def _signature(url: str, text: str, secret: bytes) -> str:
    return hmac.new(secret, f"{url} {text}".encode(), hashlib.sha256).hexdigest()
