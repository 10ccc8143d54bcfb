"""What a store refuses that only gives: everything that writes, and what a copy never asks of its source."""

# ruff: noqa: ARG002 - the arguments are the protocol's

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NoReturn

from dtool_s3.errors import NotSupported
from dtool_s3.store.protocol import (
    ALWAYS,
    NO_METADATA,
    Body,
    ByteStream,
    ListedObject,
    ObjectInfo,
    Part,
    Precondition,
    Upload,
)


class ReadOnlyStore:
    """The other half of `dtool_s3.store.protocol.Store`: each method raises NotSupported."""

    async def head(self, key: str) -> ObjectInfo:
        """Refuse."""
        _refuse("HEAD", key)

    def stream(self, key: str) -> AbstractAsyncContextManager[ByteStream]:
        """Refuse."""
        _refuse("stream", key)

    async def put(
        self,
        key: str,
        body: Body,
        *,
        metadata: Mapping[str, str] = NO_METADATA,
        precondition: Precondition = ALWAYS,
    ) -> ObjectInfo:
        """Refuse."""
        _refuse("PUT", key)

    async def copy(
        self, source_bucket: str, source: ListedObject, key: str, *, metadata: Mapping[str, str] | None = None
    ) -> str | None:
        """Refuse."""
        _refuse("copy", key)

    async def copy_many(
        self, source_bucket: str, copies: Sequence[tuple[ListedObject, str]]
    ) -> Sequence[ObjectInfo | None]:
        """Refuse."""
        _refuse("copy", ", ".join(key for _, key in copies[:1]))

    async def delete(self, key: str, *, precondition: Precondition = ALWAYS) -> None:
        """Refuse."""
        _refuse("DELETE", key)

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Refuse."""
        _refuse("DELETE", ", ".join(keys[:1]))

    async def list_uploads(self, prefix: str) -> Sequence[Upload]:
        """Refuse."""
        _refuse("list uploads", prefix)

    async def start_upload(self, key: str, metadata: Mapping[str, str]) -> Upload:
        """Refuse."""
        _refuse("upload", key)

    async def put_part(self, upload: Upload, number: int, body: Body, *, md5: bytes | None = None) -> Part:
        """Refuse."""
        _refuse("upload", upload.key)

    async def copy_part(
        self,
        upload: Upload,
        number: int,
        source_bucket: str,
        source: ListedObject,
        *,
        first_byte: int,
        size_bytes: int,
    ) -> Part:
        """Refuse."""
        _refuse("upload", upload.key)

    async def complete_upload(self, upload: Upload, parts: Sequence[Part]) -> str:
        """Refuse."""
        _refuse("upload", upload.key)

    async def abort_upload(self, upload: Upload) -> None:
        """Refuse."""
        _refuse("upload", upload.key)


def _refuse(what: str, key: str) -> NoReturn:
    raise NotSupported(f"a published dataset is read only: no {what} of {key[:120]!r}", code="NotImplemented")
