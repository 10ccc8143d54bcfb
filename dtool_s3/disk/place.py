"""The directory that a dataset is copied to, as dtoolcore would have made it; owns what is written there.

dtoolcore's own broker makes the structure and writes the documents; every one of them appears whole or not at
all. Nothing is written outside the directory, through no symbolic link, and nothing into a frozen dataset.
Everything here blocks. Source: dtoolcore 3.x, `DiskStorageBroker`.
"""

import errno
import json
import os
import shutil
import stat
import uuid
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dtoolcore.storagebroker import DiskStorageBroker, DiskStorageBrokerValidationWarning
from dtoolcore.utils import generous_parse_uri, name_is_valid

from dtool_s3.disk.source import data_directory, find_documents, read_admin_metadata, read_manifest
from dtool_s3.documents import AdminMetadata, DatasetType, Manifest
from dtool_s3.errors import ContentDiffers, NotSupported, UnsafePath
from dtool_s3.layout import check_disk_relpaths
from dtool_s3.naming import name_few

_MAX_NAME_BYTES = 255
_TEMPORARY = "tmp_download."


class _Broker(DiskStorageBroker):  # type: ignore[misc]  # dtoolcore has no types
    """dtoolcore's broker, writing texts in UTF-8 whatever the locale, and never half of one."""

    def put_text(self, key: str, text: str) -> None:
        write_whole(Path(key), text.encode())


def write_whole(path: Path, body: bytes) -> None:
    """Write a file that appears at once; its directory is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.new")
    try:
        with temporary.open("xb") as file:
            file.write(body)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def destination_uri(admin: AdminMetadata, base_uri: str) -> str:
    """Return the URI that the dataset gets below `base_uri` (`file:///path`): its name decides, as in dtool.

    Raises NotSupported for other schemes, UnsafePath for a name that dtool does not allow.
    """
    if generous_parse_uri(base_uri).scheme != DiskStorageBroker.key:
        raise NotSupported(f"{base_uri!r}: datasets are written to file:// directories only")
    if not name_is_valid(admin.name) or admin.name in {".", ".."}:
        raise UnsafePath(f"the dataset's name {admin.name[:80]!r} cannot be that of a directory")
    uri: str = DiskStorageBroker.generate_uri(admin.name, admin.uuid, base_uri)
    return uri


@dataclass(frozen=True, slots=True)
class FoundDataset:
    """A dataset that is at the place; `manifest` of a frozen one."""

    admin: AdminMetadata
    manifest: Manifest | None


class DiskPlace:
    """The directory at one URI."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._broker = _Broker(uri)
        self.root = Path(self._broker.get_readme_key()).parent
        self.data = data_directory(self._broker)
        self._settings = Path(self._broker.get_admin_metadata_key()).parent
        self.temporary = self._settings / f"{_TEMPORARY}{uuid.uuid4().hex}"

    def find_dataset(self) -> FoundDataset | None:
        """Return what is at the place; None: nothing, or an empty directory.

        Raises ContentDiffers for anything but a dataset, InvalidAdminMetadata, InvalidManifest.
        """
        if self._broker.has_admin_metadata():
            admin = read_admin_metadata(self._broker)
            return FoundDataset(admin, read_manifest(self._broker)[0] if admin.is_frozen else None)
        if self.root.is_dir() and not any(self.root.iterdir()):
            return None
        if os.path.lexists(self.root):
            raise ContentDiffers(f"{str(self.root)!r} exists and is no dataset")
        return None

    def create(self, admin: AdminMetadata, base_uri: str) -> None:
        """Make a proto dataset; it gets its name when it is complete.

        Raises ContentDiffers where somebody else makes something there at the same time, OSError.
        """
        fields = admin.with_type(DatasetType.PROTO).as_dict()
        name = f".{admin.uuid}.{uuid.uuid4().hex}.new"
        new = _Broker(DiskStorageBroker.generate_uri(name, admin.uuid, base_uri))
        root = Path(new.get_readme_key()).parent
        try:
            new.create_structure()
            new.put_admin_metadata(fields)
            root.rename(self.root)
        except OSError as error:
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
            raise ContentDiffers(f"somebody else made {str(self.root)!r} at the same time") from error
        finally:
            shutil.rmtree(root, ignore_errors=True)

    def prepare(self, relpaths: Iterable[str]) -> None:
        """Make the directories of the items and one for unfinished files; remove those of earlier runs.

        Raises UnsafePath for relpaths that no directory can hold, and where a symbolic link leads away.
        """
        paths = list(relpaths)
        check_disk_relpaths(paths)
        folders = (self._settings / name for name in ("overlays", "annotations", "tags"))
        for directory in (self._settings, self.data, *folders):
            directory.mkdir(exist_ok=True)
            _check_directory(directory)
        for leftover in self._settings.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(leftover)
        self.temporary.mkdir()
        known = {""}
        for relpath in paths:
            self._make_parents(relpath.rpartition("/")[0], known)

    def _make_parents(self, folder: str, known: set[str]) -> None:
        if folder in known:
            return
        self._make_parents(folder.rpartition("/")[0], known)
        directory = self.data / folder
        with suppress(FileExistsError):
            directory.mkdir()
        _check_directory(directory)
        known.add(folder)

    def remove_temporary(self) -> None:
        """Remove this run's unfinished files."""
        shutil.rmtree(self.temporary, ignore_errors=True)

    def find_items(self) -> dict[str, os.stat_result]:
        """Return what lies under `data/` by relpath, as a look that follows no link shows it."""
        found: dict[str, os.stat_result] = {}
        waiting = [(str(self.data), "")]
        while waiting:
            directory, start = waiting.pop()
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, f"{start}{entry.name}/"))
                    else:
                        found[f"{start}{entry.name}"] = entry.stat(follow_symlinks=False)
        return found

    def check_items(self, manifest: Manifest) -> None:
        """Raise ContentDiffers unless exactly the manifest's items lie under `data/`, in its sizes."""
        found = self.find_items()
        self.check_nothing_extra(manifest, found)
        items = manifest.items.values()
        wrong = [i.relpath for i in items if not is_file_of_size(found.get(i.relpath), i.size_bytes)]
        if wrong:
            raise ContentDiffers(f"{str(self.data)!r} lacks items, or has others: {name_few(wrong)}")

    def check_nothing_extra(self, manifest: Manifest, found: Mapping[str, os.stat_result]) -> None:
        """Raise ContentDiffers, naming files under `data/` that the manifest does not name."""
        extra = sorted(found.keys() - {item.relpath for item in manifest.items.values()})
        if extra:
            raise ContentDiffers(f"{str(self.data)!r} holds files that are no items: {name_few(extra)}")

    def find_documents(self) -> dict[str, Path]:
        """Return the documents that are there, by their key in a bucket."""
        return find_documents(self._broker)

    def check_documents(self, paths: Collection[Path]) -> None:
        """Raise ContentDiffers unless each file has its own name: some file systems fold letters."""
        there = {path for folder in {path.parent for path in paths} for path in folder.iterdir()}
        lost = sorted(path.name for path in paths if path not in there)
        if lost:
            raise ContentDiffers(f"{str(self.root)!r} did not keep the names of {name_few(lost)}")

    def document_path(self, name: str) -> Path | None:
        """Return where a document of a bucket (`tags/rnaseq`) goes; None for what dtool did not write.

        Raises UnsafePath for names that no directory can hold.
        """
        folder, _, rest = name.rpartition("/")
        if folder in {"overlays", "annotations"} and not rest.endswith(".json"):
            return None
        if rest in {"", ".", ".."} or "\x00" in rest or len(os.fsencode(rest)) > _MAX_NAME_BYTES:
            raise UnsafePath(f"{name[:80]!r} cannot be the name of a file")
        match folder:
            case "":
                return Path(self._broker.get_readme_key())
            case "tags":
                return Path(self._broker.get_tag_key(rest))
            case "overlays":
                return Path(self._broker.get_overlay_key(rest.removesuffix(".json")))
            case "annotations":
                return Path(self._broker.get_annotation_key(rest.removesuffix(".json")))
            case _:
                raise UnsafePath(f"{name[:80]!r} cannot be the name of a file in one directory")

    def freeze(self, admin: AdminMetadata, manifest_body: bytes) -> None:
        """Write the manifest and then the administrative metadata that say that the dataset is frozen.

        Raises ContentDiffers for what dtoolcore does not accept beside a dataset's own files.
        """
        self.remove_temporary()
        try:
            self._broker.pre_freeze_hook()
        except DiskStorageBrokerValidationWarning as error:
            raise ContentDiffers(f"{str(self.root)!r}: {error}") from error
        self._broker.put_manifest(json.loads(manifest_body))
        self._broker.put_admin_metadata(admin.with_type(DatasetType.FROZEN).as_dict())
        self._broker.post_freeze_hook()


def is_file_of_size(status: os.stat_result | None, size_bytes: int) -> bool:
    """Tell whether a look without following links showed a regular file of this size."""
    return status is not None and stat.S_ISREG(status.st_mode) and status.st_size == size_bytes


def _check_directory(directory: Path) -> None:
    if not stat.S_ISDIR(directory.lstat().st_mode):
        raise UnsafePath(f"{str(directory)!r} is no directory, or a symbolic link that may lead away")
