"""A dataset that dtool published over http(s), as a store that a copy reads; owns what lies at which URL.

There is no listing: it is made up from http_manifest.json (documents, tags, where the items are) and the
manifest (their sizes). ETags are not known, so every item is streamed and hashed against the manifest.
Nothing of what a server says is believed: documents are bounded, URLs stay on the host, see `access_url`,
`http_manifest` and `http_client`. Source: http_manifest.json as dtool-s3 0.14.1 writes it.
"""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, final

from dtool_s3.documents import (
    MAX_ANNOTATION_BYTES,
    MAX_MANIFEST_BYTES,
    MAX_OVERLAY_BYTES,
    MAX_README_BYTES,
    parse_manifest,
)
from dtool_s3.errors import InvalidManifest, NotFound, RequestRefused, SourceDamaged
from dtool_s3.layout import DatasetLayout
from dtool_s3.naming import name_few
from dtool_s3.publication.access_url import parse_access_url, published_uuid
from dtool_s3.publication.http_manifest import HttpManifest, parse_http_manifest
from dtool_s3.publication.read_only import ReadOnlyStore
from dtool_s3.store.boto.retry import Retry
from dtool_s3.store.protocol import ListedObject, Listing, ObjectInfo, StoredObject

if TYPE_CHECKING:
    from dtool_s3.publication.http_client import HttpClient

__all__ = ["PublishedStore", "published_uuid"]

#: Signed URLs of two hundred thousand items; in memory a hostile one is five times as much.
_MAX_HTTP_MANIFEST_BYTES = 128 * 1024 * 1024
_UNKNOWN = datetime(1970, 1, 1, tzinfo=UTC)


@final
class PublishedStore(ReadOnlyStore):
    """One published dataset; implements `dtool_s3.store.protocol.Store`, reading only.

    Its keys are those of `DatasetLayout("", uuid)`. `ca_bundle`: path of PEM certificates, None: those of the
    environment, as its proxies. `patience_seconds`: what an answer may take, beside the time that its bytes
    need at `bytes_per_second`; silence ends a request after a minute in any case. The constructor performs no
    I/O; it raises InvalidURI. `close()` or `async with` ends threads and connections.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_bundle: str | None = None,
        max_concurrency: int = 32,
        attempts: int = 3,
        patience_seconds: float = 60.0,
        bytes_per_second: int = 16 * 1024,
    ) -> None:
        self._access = parse_access_url(url)
        self._layout = DatasetLayout("", self._access.uuid)
        self._ca_bundle = ca_bundle
        self._max_concurrency = max_concurrency
        self._retry = Retry(attempts)
        self._patience = (patience_seconds, bytes_per_second)
        self._loading = asyncio.Lock()
        self._http_client: HttpClient | None = None
        self._http_manifest: HttpManifest | None = None
        self._manifest_body: bytes | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """End the threads and close the connections; blocks until requests under way have ended."""
        if self._http_client is not None:
            self._http_client.close()

    @property
    def uuid(self) -> str:
        """UUID that the URL names."""
        return self._access.uuid

    @property
    def bucket(self) -> str:
        """Name of the host, for messages."""
        return self._access.host

    @property
    def endpoint_url(self) -> str:
        """URL of the dataset without a query: that of no S3 service, so nothing is copied on a server."""
        return str(self._access)

    async def check_bucket(self) -> datetime:
        """Read http_manifest.json; return this machine's clock.

        Raises what `get` raises of the administrative metadata.
        """
        await self._published()
        return datetime.now(UTC)

    async def get(self, key: str, *, max_bytes: int) -> StoredObject:
        """Read a document or an item whole; administrative metadata and tags come from http_manifest.json.

        Raises NotFound, SourceDamaged for an item that is not there, InvalidManifest for an
        http_manifest.json that cannot be read, RequestRefused (code `EntityTooLarge` above `max_bytes`),
        AccessDenied for URLs and redirects that lead elsewhere, and other StorageErrors.
        """
        body = await self._read(key, max_bytes)
        if len(body) > max_bytes:
            raise RequestRefused(f"{key!r} has more than {max_bytes} bytes", code="EntityTooLarge")
        return StoredObject(ObjectInfo(key, len(body), "", _UNKNOWN), body)

    async def get_range(
        self,
        key: str,
        first_byte: int,
        size_bytes: int,
        *,
        etag: str,  # noqa: ARG002 - not known
    ) -> bytes:
        """Read a part of an item; `etag` is `""`, what was read must be hashed.

        Raises SourceDamaged where the item has no such bytes, NotSupported where the server gives no ranges.
        """
        published = await self._published()
        with _reading_item(key):
            return await self._client().get_range(self._item_url(published, key), first_byte, size_bytes)

    async def part_sizes(self, key: str) -> Sequence[int]:  # noqa: ARG002 - none is known of any
        """Return nothing: they are not known."""
        return ()

    async def list(
        self,
        prefix: str,
        *,
        delimiter: str = "",  # noqa: ARG002 - there is one dataset
        limit: int | None = None,
        keeps: Callable[[str], bool] | None = None,
    ) -> Listing:
        """List what is published, as the manifests say; sizes of documents are the largest that are read.

        Raises SourceDamaged, naming items of the manifest that have no URL; what `get` raises.
        """
        published = await self._published()
        manifest = parse_manifest(await self._manifest(published))
        if absent := [item.relpath for i, item in manifest.items.items() if i not in published.item_urls]:
            raise SourceDamaged(
                f"{self._access} does not publish {len(absent)} items of its manifest: {name_few(absent)}"
            )
        layout = self._layout
        sizes = {layout.item_key(i): item.size_bytes for i, item in manifest.items.items()}
        sizes |= {f"{layout.root}{name}": max_document_bytes(name) for name in published.document_urls}
        sizes |= {layout.tag_key(tag): 0 for tag in published.tags}
        keys = sorted(key for key in sizes if key.startswith(prefix))
        shown = [key for key in keys[:limit] if keeps is None or keeps(key)]
        objects = [ListedObject(key, sizes[key], "", _UNKNOWN) for key in shown]
        return Listing(objects, is_cut=limit is not None and len(keys) > limit)

    async def _read(self, key: str, max_bytes: int) -> bytes:
        published, layout = await self._published(), self._layout
        name = key.removeprefix(layout.root)
        if key == layout.admin_metadata_key:
            return json.dumps(published.admin_metadata).encode()
        if key == layout.manifest_key:
            return await self._manifest(published)
        if name in published.document_urls:
            bound = min(max_bytes, max_document_bytes(name))
            return await self._client().get(published.document_urls[name], max_bytes=bound)
        if key.startswith(layout.data_prefix):
            with _reading_item(key):
                return await self._client().get(self._item_url(published, key), max_bytes=max_bytes)
        if key.startswith(layout.tags_prefix) and key.removeprefix(layout.tags_prefix) in published.tags:
            return b""
        raise NotFound(f"{self._access} does not publish {name[:120]!r}", code="NoSuchKey")

    async def _published(self) -> HttpManifest:
        """Read http_manifest.json, once."""
        async with self._loading:
            if self._http_manifest is None:
                try:
                    body = await self._client().get(
                        self._access.http_manifest_url, max_bytes=_MAX_HTTP_MANIFEST_BYTES
                    )
                except RequestRefused as error:
                    raise InvalidManifest(f"{self._access}: {error}") from error
                self._http_manifest = parse_http_manifest(body, self._access)
            return self._http_manifest

    async def _manifest(self, published: HttpManifest) -> bytes:
        """Read manifest.json, once: who asks for it keeps these bytes anyway."""
        async with self._loading:
            if self._manifest_body is None:
                self._manifest_body = await self._client().get(
                    published.manifest_url, max_bytes=MAX_MANIFEST_BYTES
                )
            return self._manifest_body

    def _item_url(self, published: HttpManifest, key: str) -> str:
        url = published.item_urls.get(key.removeprefix(self._layout.data_prefix))
        if url is None:
            raise NotFound(f"{self._access} does not publish {key[:120]!r}", code="NoSuchKey")
        return url

    def _client(self) -> "HttpClient":
        if self._http_client is None:
            # urllib3 loads at the first request
            from dtool_s3.publication.http_client import HttpClient, Patience  # noqa: PLC0415

            self._http_client = HttpClient(
                ca_bundle=self._ca_bundle,
                max_concurrency=self._max_concurrency,
                patience=Patience(*self._patience),
                retry=self._retry,
            )
        return self._http_client


def max_document_bytes(name: str) -> int:
    """Return the size above which a document is not read, by its key relative to the dataset's root."""
    if name == "README.yml":
        return MAX_README_BYTES
    return MAX_ANNOTATION_BYTES if name.startswith("annotations/") else MAX_OVERLAY_BYTES


@contextmanager
def _reading_item(key: str) -> Iterator[None]:
    """Say what it means for the dataset when an item is not there, or shorter than it should be."""
    try:
        yield
    except NotFound as error:
        raise SourceDamaged(f"the published item {key[:120]!r} is not there: {error}") from error
    except RequestRefused as error:
        if error.code != "InvalidRange":
            raise
        raise SourceDamaged(f"the published item {key[:120]!r} is not whole: {error}") from error
