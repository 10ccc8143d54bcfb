"""Whether a dataset on a volume is what its manifest says; reads only, and follows no symbolic link."""

import asyncio
import hashlib
import os
from collections.abc import Mapping

from dtool_s3.concurrency import run_workers
from dtool_s3.digest import read_exactly
from dtool_s3.documents import ManifestItem
from dtool_s3.errors import ContentDiffers, DatasetMissing, SourceDamaged, SourceNotFound, UnsafePath
from dtool_s3.files.local_file import open_file
from dtool_s3.files.tree import Tree
from dtool_s3.transfer.plan import Evidence
from dtool_s3.transfer.progress import Phase, ProgressCounter, ProgressSink, no_progress
from dtool_s3.transfer.tally import Tally, Verification
from dtool_s3.transfer.verify import VerifiedDataset, VerifyMethod
from dtool_s3.volume.dataset import VolumeDataset, read_volume_dataset
from dtool_s3.volume.faults import using_volume
from dtool_s3.volume.walk import Survey, survey_files

_READ_BYTES = 1024 * 1024


async def verify_directory(
    tree: Tree,
    *,
    method: VerifyMethod = VerifyMethod.CONTENT,
    manifest_sha256: str | None = None,
    on_progress: ProgressSink = no_progress,
) -> VerifiedDataset:
    """Verify the frozen dataset in a directory against its own manifest: sizes, or every byte of it.

    `manifest_sha256`: what the manifest must be, as `inspect_directory` tells it. Damage is in the result;
    what is no regular file counts as absent and as extra. Raises DatasetMissing, SourceNotFrozen,
    InvalidAdminMetadata, InvalidManifest, NotSupported, ContentDiffers (another manifest), UnsafePath,
    VolumeUnavailable.
    """
    with using_volume(tree):
        try:
            found = await asyncio.to_thread(read_volume_dataset, tree)
        except SourceNotFound as error:
            raise DatasetMissing(str(error)) from error
        sha256 = hashlib.sha256(found.manifest_body).hexdigest()
        if manifest_sha256 is not None and sha256 != manifest_sha256.lower():
            raise ContentDiffers(f"the manifest in {str(tree)!r} has SHA-256 {sha256}, not the known one")
        survey = await asyncio.to_thread(survey_files, tree.below_it("data"))
        return VerifiedDataset(found.admin, await _verify(found, survey, method, on_progress))


async def _verify(
    found: VolumeDataset, survey: Survey, method: VerifyMethod, on_progress: ProgressSink
) -> Verification:
    manifest, tally = found.manifest, Tally()
    sizes: Mapping[str, int] = {file.relpath: file.size_bytes for file in survey.files}
    counter = ProgressCounter(
        on_progress, items_total=len(manifest.items), bytes_total=manifest.size_bytes, phase=Phase.VERIFYING
    )
    waiting = iter(manifest.items.values())

    async def work() -> None:
        for item in waiting:
            if tally.take_size(item, sizes.get(item.relpath)):
                if method is VerifyMethod.LISTING:
                    tally.unproven += 1
                else:
                    await _check(found, item, tally)
            counter.add(items=1, size_bytes=item.size_bytes)

    await run_workers(work, count=min(os.cpu_count() or 1, len(manifest.items)))
    expected = {item.relpath for item in manifest.items.values()}
    extra = [relpath for relpath in sizes if relpath not in expected]
    return tally.result(manifest, extra=[*extra, *survey.problems], hidden=survey.hidden_count)


async def _check(found: VolumeDataset, item: ManifestItem, tally: Tally) -> None:
    try:
        digest = await asyncio.to_thread(_hash, found, item)
    except (FileNotFoundError, SourceDamaged, UnsafePath):
        tally.mismatch(item, item.hash, "changed while the dataset was verified")
        return
    if digest == item.hash:
        tally.counts[Evidence.READ] += 1
    else:
        tally.mismatch(item, item.hash, digest)


def _hash(found: VolumeDataset, item: ManifestItem) -> str:
    digest, first_byte = hashlib.md5(usedforsecurity=False), 0
    with open_file(found.item_file(item)) as file:
        while chunk := read_exactly(file.descriptor, first_byte, _READ_BYTES):
            digest.update(chunk)
            first_byte += len(chunk)
        file.check_size()
    return digest.hexdigest()
