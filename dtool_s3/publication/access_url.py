"""The URL at which dtool published a dataset, and which URLs its documents may name; pure text, no I/O.

Owns the rule that nothing is fetched from another host than the one that was asked for. Source: dtool-http
reads `<access URL>/http_manifest.json`, the query of the access URL (a signature) kept.
"""

import re
from dataclasses import dataclass

from dtool_s3.errors import AccessDenied, InvalidURI
from dtool_s3.uri import is_uuid

MAX_URL_CHARACTERS = 8192

# what clients read differently (backslashes, white space, control characters, user:password@) does not fit
_URL = re.compile(
    r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?(/[!->@-~]*|)(?:\?([!-~]*))?",
    re.ASCII | re.IGNORECASE,
)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Address:
    """An http(s) URL in its parts; `query` without the question mark."""

    scheme: str
    host: str
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        """Scheme, host and port, as a URL begins."""
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    def url(self, path: str) -> str:
        """Return the URL of another path, with the same query."""
        return f"{self.origin}{path}{f'?{self.query}' if self.query else ''}"


@dataclass(frozen=True, slots=True)
class AccessURL:
    """Where a published dataset is read from; its text has no query, which may hold a signature."""

    uuid: str
    address: _Address

    def __str__(self) -> str:
        return f"{self.address.origin}{self.address.path}"

    def __repr__(self) -> str:
        return f"AccessURL({str(self)!r})"

    @property
    def host(self) -> str:
        """Name or address of the host, in lower case."""
        return self.address.host

    @property
    def http_manifest_url(self) -> str:
        """URL of the document that names all others."""
        return self.address.url(f"{self.address.path}/http_manifest.json")

    def check(self, url: object) -> str:
        """Return a URL that a document of the dataset names, written anew from its parts.

        Raises AccessDenied unless it is on the same host, with the same scheme and port or https on its own
        port. The message names the other host and nothing else of it.
        """
        found, own = _parse(url), self.address
        if found is None:
            raise AccessDenied(f"{self} names something that is no plain http(s) URL", code="ForeignURL")
        allowed = {(own.scheme, own.port), ("https", _PORTS["https"])}
        if found.host != own.host or (found.scheme, found.port) not in allowed:
            raise AccessDenied(
                f"{self} names a URL at {found.origin[:120]!r}; only its own host is read", code="ForeignURL"
            )
        return found.url(found.path or "/")


def parse_access_url(url: str) -> AccessURL:
    """Parse the URL of a published dataset; a trailing slash is tolerated. Raises InvalidURI.

    Messages never have the query: it may hold a signature.
    """
    found = _parse(url)
    if found is None:
        raise InvalidURI("a published dataset has a URL with http:// or https:// and a plain host name")
    path = found.path.rstrip("/")
    uuid = path.rpartition("/")[2]
    if not is_uuid(uuid):
        raise InvalidURI(f"{found.origin}{path[:200]} does not end in the UUID of a dataset")
    return AccessURL(uuid, _Address(found.scheme, found.host, found.port, path, found.query))


def published_uuid(url: str) -> str | None:
    """Return the UUID that the last segment of a published dataset's URL names; None where it names none."""
    try:
        return parse_access_url(url).uuid
    except InvalidURI:
        return None


def _parse(url: object) -> _Address | None:
    """Take a URL apart; None for what is no http(s) URL, or one that clients may read differently."""
    if not isinstance(url, str) or len(url) > MAX_URL_CHARACTERS or "\\" in url:
        return None
    found = _URL.fullmatch(url.partition("#")[0])
    if found is None:
        return None
    scheme = found[1].lower()
    port = int(found[3] or _PORTS[scheme])
    if not 0 < port <= 65535:
        return None
    return _Address(scheme, found[2].lower(), port, found[4], found[5] or "")
