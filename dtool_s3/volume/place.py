"""Where a dataset lies on a volume, finished or not, and how it is removed; follows no symbolic link.

    <directory>/<name>                              complete, always
    <directory>/.<name>.dtool-partial-<uuid>        being written; a later run goes on with it
    <directory>/.<name>.dtool-removed-<uuid>        being removed

Blocks. Nothing else in the directory is ever touched.
"""

import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dtool_s3.errors import (
    ContentDiffers,
    InvalidAdminMetadata,
    SettingsError,
    SourceNotFound,
    UnsafePath,
    VolumeFull,
)
from dtool_s3.files.tree import Tree, kind_of
from dtool_s3.naming import check_name
from dtool_s3.uri import is_uuid
from dtool_s3.volume.dataset import read_volume_admin
from dtool_s3.volume.faults import using_volume


@dataclass(frozen=True, slots=True)
class VolumePlace:
    """The place of the dataset `uuid` called `name` in a directory of a volume."""

    directory: Tree
    name: str
    uuid: str

    def __post_init__(self) -> None:
        """Refuse names that lead elsewhere: they come from a bucket."""
        try:
            check_name(self.name, of="a directory")
        except SettingsError as error:
            raise UnsafePath(str(error)) from error
        if not is_uuid(self.uuid):
            raise UnsafePath(f"{self.uuid[:80]!r} is not a UUID")

    @property
    def tree(self) -> Tree:
        """The finished dataset."""
        return self.directory.below_it(self.name)

    @property
    def partial_name(self) -> str:
        """Name of the unfinished one."""
        return f".{self.name}.dtool-partial-{self.uuid}"

    @property
    def removed_name(self) -> str:
        """Name of the one that is being removed."""
        return f".{self.name}.dtool-removed-{self.uuid}"

    @property
    def base(self) -> Path:
        """Path of the directory."""
        return self.directory.root / self.directory.below

    def is_free(self) -> bool:
        """Tell whether nothing is at the place, or an empty directory. Raises UnsafePath, OSError."""
        try:
            status = self.directory.look(self.name)
        except FileNotFoundError:
            return True
        if not stat.S_ISDIR(status.st_mode):
            raise ContentDiffers(f"{str(self.tree)!r} is {kind_of(status.st_mode)}, no dataset")
        with self.tree.open_directory() as directory:
            return not os.listdir(directory)  # noqa: PTH208 - a descriptor, no path

    def check_partial(self) -> None:
        """Raise UnsafePath where something else has the name of the unfinished dataset."""
        with suppress(FileNotFoundError):
            status = self.directory.look(self.partial_name)
            if not stat.S_ISDIR(status.st_mode):
                raise UnsafePath(
                    f"{str(self.directory)!r}: {self.partial_name!r} is {kind_of(status.st_mode)}"
                )


def make_directory(tree: Tree) -> Path:
    """Make the directory if need be, below the root only; return its path. Raises UnsafePath, OSError."""
    below = ""
    for step in [step for step in tree.below.split("/") if step not in {"", "."}]:
        above = Tree(tree.root, below)
        with above.open_directory() as directory, suppress(FileExistsError):
            os.mkdir(step, dir_fd=directory)
        below = f"{below}/{step}" if below else step
    with tree.open_directory():
        return tree.root / below


def check_room(path: Path, needed_bytes: int, present_bytes: int) -> None:
    """Raise VolumeFull where the file system says that less is free than is needed. Raises OSError."""
    status = os.statvfs(path)
    free = status.f_bavail * status.f_frsize + present_bytes
    if status.f_blocks and free < needed_bytes:  # some network file systems tell nothing
        raise VolumeFull(
            f"{str(path)!r}: the dataset has {needed_bytes} bytes, the volume has room for {free}"
        )


def remove_directory(place: VolumePlace, *, only_partial: bool = True) -> bool:
    """Remove what a copy to `place` left unfinished, else the dataset too; tell whether anything was there.

    The dataset vanishes at once, by a rename, and is then removed; called again that goes on. Raises, with
    nothing touched, ContentDiffers where another dataset, or none, has the name; UnsafePath,
    VolumeUnavailable.
    """
    with using_volume(place.tree):
        try:
            with place.directory.open_directory() as directory:
                return _remove(place, directory, only_partial=only_partial)
        except FileNotFoundError:
            return False


def _remove(place: VolumePlace, directory: int, *, only_partial: bool) -> bool:
    is_there = not only_partial and _is_ours(place)
    found = [_remove_entry(place, directory, name) for name in (place.partial_name, place.removed_name)]
    start, end = f".{place.uuid}.", ".new"
    beginnings = [name for name in os.listdir(directory) if name.startswith(start) and name.endswith(end)]
    found += [_remove_entry(place, directory, name) for name in beginnings]
    if is_there:
        os.rename(place.name, place.removed_name, src_dir_fd=directory, dst_dir_fd=directory)
        _remove_entry(place, directory, place.removed_name)
    return is_there or any(found)


def _is_ours(place: VolumePlace) -> bool:
    if place.is_free():
        return False
    try:
        admin = read_volume_admin(place.tree)
    except (SourceNotFound, InvalidAdminMetadata) as error:
        raise ContentDiffers(f"{str(place.tree)!r} is not removed: it is no dataset") from error
    if admin.uuid != place.uuid:
        raise ContentDiffers(f"{str(place.tree)!r} is not removed: it is dataset {admin.uuid}")
    return True


def _remove_entry(place: VolumePlace, directory: int, name: str) -> bool:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafePath(f"{str(place.directory)!r}: {name!r} is {kind_of(status.st_mode)}, not removed")
    shutil.rmtree(name, dir_fd=directory)
    return True
