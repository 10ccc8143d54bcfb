"""GET of a URL as a stranger would: without credentials, staying on the host; owns no state.

Loaded by the first such request. Messages have no query: it may hold a signature.
"""

import os
import ssl
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from dtool_s3.errors import RequestRefused, SettingsError, storage_error
from dtool_s3.store.boto.connection import READ_TIMEOUT_SECONDS

MAX_REDIRECTS = 5
CONNECT_TIMEOUT_SECONDS = 10


def fetch(url: str, *, ca_bundle: str | None, max_bytes: int) -> bytes:
    """Read what lies at an http or https URL. Raises StorageError, SettingsError, urllib3's HTTPError."""
    with open_pool(urlsplit(url), ca_bundle=ca_bundle) as pool:
        for _ in range(MAX_REDIRECTS + 1):
            with pool.request(
                "GET", url, redirect=False, retries=False, preload_content=False, decode_content=False
            ) as answer:
                target = answer.get_redirect_location()
                if not target:
                    return _read(answer, _shown(url), max_bytes)
                target = urljoin(url, target)
            here, there = urlsplit(url), urlsplit(target)
            if there.hostname != here.hostname or there.scheme not in {here.scheme, "https"}:
                raise RequestRefused(f"{_shown(url)} redirects to another host", code="Redirect")
            url = target
    raise RequestRefused(f"{_shown(url)} redirects without end", code="Redirect")


def _read(answer: urllib3.BaseHTTPResponse, shown: str, max_bytes: int) -> bytes:
    if answer.status != 200:
        raise storage_error("", answer.status, f"GET of {shown} without credentials: HTTP {answer.status}")
    body = answer.read(max_bytes + 1)
    if len(body) > max_bytes:
        raise RequestRefused(f"{shown} has more than {max_bytes} bytes", code="EntityTooLarge")
    return body


def open_pool(parts: SplitResult, *, ca_bundle: str | None, connections: int = 1) -> urllib3.PoolManager:
    """Return a client for one host that knows the environment's proxies and certificates; opens nothing yet.

    Raises SettingsError for certificates that cannot be read.
    """
    ca_bundle = ca_bundle or os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE")
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except OSError as error:
        raise SettingsError(f"the CA bundle {ca_bundle!r} cannot be read") from error
    timeout = urllib3.Timeout(connect=CONNECT_TIMEOUT_SECONDS, read=READ_TIMEOUT_SECONDS)
    proxy = getproxies().get(parts.scheme)
    if proxy and not proxy_bypass(parts.hostname or ""):
        return urllib3.ProxyManager(proxy, ssl_context=context, timeout=timeout, maxsize=connections)
    return urllib3.PoolManager(ssl_context=context, timeout=timeout, maxsize=connections)


def _shown(url: str) -> str:
    """A URL for a message: without user, password and query."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return f"{parts.scheme}://{host if parts.port is None else f'{host}:{parts.port}'}{parts.path}"
