"""Which engine copies between two URIs: bucket to bucket, directory to bucket, bucket to directory.

Owns the choice and the refusal of a UUID that the target bucket has elsewhere; moves no bytes itself.
"""

import asyncio
from dataclasses import dataclass

from dtool_s3.configuration import Configure
from dtool_s3.errors import InvalidURI, UUIDTaken
from dtool_s3.place import Bucket, find_place, open_bucket
from dtool_s3.registration import read_registration
from dtool_s3.transfer.engine import CopyRequest, CopyResult, copy_dataset
from dtool_s3.transfer.progress import ProgressSink


@dataclass(frozen=True, slots=True)
class CopiedDataset:
    """A copy: its URI, and what is known of it."""

    uri: str
    result: CopyResult


@dataclass(frozen=True, slots=True)
class Copying:
    """One copy: from where to where, and how."""

    source_uri: str
    base_uri: str
    configure: Configure
    concurrency: int
    on_progress: ProgressSink

    async def run(self) -> CopiedDataset:
        """Copy. Raises InvalidURI for a pair of URIs that this library does not copy between."""
        match scheme_of(self.source_uri), scheme_of(self.base_uri):
            case "s3", "s3":
                return await self._copy_between_buckets()
            case "file" | "symlink", "s3":
                return await self._upload()
            case "s3", "file":
                return await self._download()
            case _:
                raise InvalidURI(
                    f"from {self.source_uri!r} to {self.base_uri!r} nothing is copied here: one of them must "
                    "be s3://, the other s3:// or file://"
                )

    async def _copy_between_buckets(self) -> CopiedDataset:
        source = await find_place(self.source_uri, self.configure)
        target = open_bucket(self.base_uri, self.configure)
        uuid, prefix = source.layout.uuid, target.configuration.check_prefix()
        await _check_free(target, uuid, prefix)
        request = CopyRequest(
            uuid, source.layout.prefix, prefix, server_side=True, concurrency=self.concurrency
        )
        result = await copy_dataset(source.store, target.store, request, on_progress=self.on_progress)
        return CopiedDataset(f"s3://{target.store.bucket}/{uuid}", result)

    async def _upload(self) -> CopiedDataset:
        from dtool_s3.disk.source import read_disk_dataset  # noqa: PLC0415 - only where files are copied
        from dtool_s3.disk.upload import upload_dataset  # noqa: PLC0415

        target = open_bucket(self.base_uri, self.configure)
        prefix = target.configuration.check_prefix()
        try:
            result = await upload_dataset(
                self.source_uri,
                target.store,
                prefix,
                concurrency=self.concurrency,
                on_progress=self.on_progress,
            )
        except UUIDTaken:
            source = await asyncio.to_thread(read_disk_dataset, self.source_uri)
            await _check_free(target, source.admin.uuid, prefix)
            raise
        return CopiedDataset(f"s3://{target.store.bucket}/{result.admin.uuid}", result)

    async def _download(self) -> CopiedDataset:
        from dtool_s3.disk.download import download_dataset  # noqa: PLC0415 - only where files are copied
        from dtool_s3.disk.place import destination_uri  # noqa: PLC0415

        source = await find_place(self.source_uri, self.configure)
        result = await download_dataset(
            source.store,
            source.layout,
            self.base_uri,
            concurrency=self.concurrency,
            on_progress=self.on_progress,
        )
        return CopiedDataset(destination_uri(result.admin, self.base_uri), result)


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI; a path without one is a file."""
    scheme, separator, _ = uri.partition(":")
    # one letter is a Windows drive
    return scheme.lower() if separator and len(scheme) > 1 else "file"


async def _check_free(target: Bucket, uuid: str, prefix: str) -> None:
    """Raise UUIDTaken, naming the place, where the UUID is registered under another prefix."""
    registered = await read_registration(target.store, uuid)
    if registered is not None and registered != prefix:
        raise UUIDTaken(
            f"s3://{target.store.bucket}/{uuid} exists already, under the prefix {registered!r}; "
            f"{target.configuration.prefix_variable} says {prefix!r}"
        )
