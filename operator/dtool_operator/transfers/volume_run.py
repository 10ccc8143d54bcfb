"""Runs a task of which one place is a volume: what a Job beside a PersistentVolumeClaim does.

Owns the translation to the library's directories. It never freezes anything in a bucket: what it brings there
the operator proves and publishes itself.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dtool_operator.api.choice import Layout
from dtool_operator.planning.task import Location, ResultLine, Task, TaskKind, VolumePlace, WorkerLine
from dtool_operator.transfers.telling import tell_frozen, tell_source, tell_verified
from dtool_s3.errors import SettingsError
from dtool_s3.files.tree import Tree
from dtool_s3.layout import DatasetLayout
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.progress import Phase, Progress, ProgressSink
from dtool_s3.volume.download import download_to_directory
from dtool_s3.volume.inspection import inspect_directory
from dtool_s3.volume.place import VolumePlace as DatasetPlace
from dtool_s3.volume.place import remove_directory
from dtool_s3.volume.upload import upload_dataset_directory, upload_directory
from dtool_s3.volume.verification import verify_directory
from dtool_s3.volume.walk import VolumeLimits


@dataclass(frozen=True, slots=True)
class VolumeWork:
    """One task, its volume, and how buckets are opened."""

    task: Task
    volume: VolumePlace
    open_store: Callable[[Location], Store]
    on_progress: ProgressSink

    async def perform(self) -> WorkerLine:
        """Do it. Raises SettingsError for work that no volume has, and what the library raises."""
        match self.task.kind:
            case TaskKind.INSPECT:
                return tell_source(await asyncio.to_thread(inspect_directory, self._tree))
            case TaskKind.UPLOAD:
                return await self._upload()
            case TaskKind.DOWNLOAD:
                return await self._download()
            case TaskKind.VERIFY:
                return await self._verify()
            case TaskKind.REMOVE:
                return await self._remove()
            case _:
                raise SettingsError(f"work of kind {self.task.kind} has no volume")

    @property
    def _tree(self) -> Tree:
        if self.volume.directory is None:
            raise SettingsError("nobody said where the volume is mounted")
        return Tree(Path(self.volume.directory), self.volume.path)

    @property
    def _limits(self) -> VolumeLimits:
        return VolumeLimits(max_size_bytes=self.task.max_size_bytes)

    async def _upload(self) -> ResultLine:
        task = self.task
        if task.target is None:
            raise SettingsError("an upload needs a target")
        store, layout = self.open_store(task.target), DatasetLayout(task.target.prefix, task.uuid)
        if self.volume.layout is Layout.FILES:
            await upload_directory(
                self._tree, store, layout, limits=self._limits, on_progress=self.on_progress
            )
        else:
            await upload_dataset_directory(
                self._tree,
                store,
                layout,
                new=task.new is not None,
                manifest_sha256=task.manifest_sha256,
                limits=self._limits,
                on_progress=self.on_progress,
            )
        return ResultLine()

    async def _download(self) -> ResultLine:
        task = self.task
        if task.source is None:
            raise SettingsError("a download needs a source")
        copied = await download_to_directory(
            self.open_store(task.source),
            DatasetLayout(task.source.prefix, task.uuid),
            self._tree,
            manifest_sha256=task.manifest_sha256,
            max_size_bytes=task.max_size_bytes,
            on_progress=self.on_progress,
        )
        return tell_frozen(copied)

    async def _verify(self) -> WorkerLine:
        self.on_progress(Progress(Phase.VERIFYING, 0, 0, 0, 0))
        tree = self._place.tree
        return tell_verified(
            await verify_directory(tree, method=self.task.method, on_progress=self.on_progress)
        )

    async def _remove(self) -> ResultLine:
        self.on_progress(Progress(Phase.REMOVING, 0, 0, 0, 0))
        await asyncio.to_thread(remove_directory, self._place, only_partial=self.task.only_proto)
        return ResultLine()

    @property
    def _place(self) -> DatasetPlace:
        if self.volume.name is None:
            raise SettingsError("nobody said what the dataset is called")
        return DatasetPlace(self._tree, self.volume.name, self.task.uuid)
