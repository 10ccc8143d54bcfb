"""dtoolcore's storage broker for s3:// URIs; thin: it turns dtoolcore's calls into those of other modules.

Owns what one broker remembers: where its dataset lies, which uploads failed, the freezing under way. A
drop-in for upstream's class of the same name; where upstream loses data this one raises, and the dataset
stays a proto dataset.
"""

import functools
import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import dtoolcore
from dtoolcore.filehasher import FileHasher, md5sum_hexdigest
from dtoolcore.utils import name_is_valid

from dtool_s3.blocking import run
from dtool_s3.broker.creation import register_new, write_admin_metadata
from dtool_s3.broker.freeze_session import FreezeSession
from dtool_s3.broker.items import Item, ItemReader, read_fragments
from dtool_s3.broker.place import _STRUCTURE_PARAMETERS
from dtool_s3.broker.urls import UrlBroker
from dtool_s3.catalog import EntryState, list_datasets
from dtool_s3.documents import MAX_MANIFEST_BYTES, DatasetType, Manifest, dump_manifest, parse_manifest
from dtool_s3.errors import DatasetMissing, InvalidURI, ItemMissing, SourceNotFrozen
from dtool_s3.files.cache import ItemCache
from dtool_s3.files.upload import upload_file
from dtool_s3.layout import DatasetLayout, item_identifier
from dtool_s3.store.protocol import ListedObject, Listing, ObjectInfo
from dtool_s3.transfer.inventory import read_admin_metadata

logger = logging.getLogger(__name__)

__all__ = ["_STRUCTURE_PARAMETERS", "S3StorageBroker"]


class S3StorageBroker(UrlBroker):
    """One dataset `s3://bucket/uuid`, or a bucket as base URI. One instance is not for several threads."""

    #: Its name becomes the manifest's `hash_function`.
    hasher: ClassVar[FileHasher] = FileHasher(md5sum_hexdigest)

    # Defaults of the class, because a subclass may not call the constructor.
    _known_manifest: Manifest | None = None
    _session: FreezeSession | None = None
    _seen: Listing | None = None

    @functools.cached_property
    def _items(self) -> dict[str, Item]:
        """What is known of items, by handle."""
        return {}

    @functools.cached_property
    def _failed_uploads(self) -> set[str]:
        """Relpaths whose upload failed and was not repeated."""
        return set()

    # Where datasets are.

    @classmethod
    def generate_uri(cls, name: str | None, uuid: str, base_uri: str) -> str:  # noqa: ARG003 - dtoolcore's signature
        """Return the URI of a dataset in the bucket of `base_uri`. Raises InvalidURI."""
        return f"{cls.key}://{cls._parse(base_uri).bucket}/{uuid}"

    @classmethod
    def list_dataset_uris(cls, base_uri: str, config_path: str | os.PathLike[str] | None = None) -> list[str]:
        """Return the URIs of all datasets in a bucket, frozen and not."""
        return cls(base_uri, config_path).list_uris()

    def list_uris(self) -> list[str]:
        """Return the URIs of all datasets in this broker's bucket; unreadable ones are logged, left out.

        Raises DatasetMissing for the URI of a dataset: `dtool ls` asks so for one that is not there.
        """
        if self.uuid:
            raise DatasetMissing(f"there is no dataset {self._uri}; its bucket is {self.key}://{self.bucket}")
        prefixes = ("", self._configuration.prefix)
        catalog = run(list_datasets(self.store, prefixes=prefixes, finds_unregistered=False, max_keys=None))
        for entry in catalog.entries.values():
            if entry.state is EntryState.UNREADABLE:
                logger.warning("dataset_unreadable uuid=%s detail=%s", entry.uuid, entry.detail)
        present = (EntryState.FROZEN, EntryState.PROTO)
        return [
            f"{self.key}://{self.bucket}/{entry.uuid}"
            for entry in catalog.entries.values()
            if entry.state in present
        ]

    # Creation and administrative metadata.

    def _create_structure(self) -> None:
        """Register a new dataset. Raises FrozenDataset, UUIDTaken, SettingsError (a bad prefix)."""
        if not self.uuid:
            raise InvalidURI(f"{self._uri} names a bucket, not a dataset to create")
        layout = DatasetLayout(self._configuration.check_prefix(), self.uuid)
        run(register_new(self.store, layout))
        self._registered = layout

    def has_admin_metadata(self) -> bool:
        """Tell whether there is a dataset; False only if its `dtool` object does not exist."""
        return bool(self.uuid) and run(read_admin_metadata(self.store, self.layout)) is not None

    def get_admin_metadata(self) -> dict[str, Any]:
        """Return the administrative metadata. Raises DatasetMissing, InvalidAdminMetadata."""
        layout = self.layout
        admin = run(read_admin_metadata(self.store, layout))
        if admin is None:
            raise DatasetMissing(f"there is no dataset at {layout.root!r} in bucket {self.bucket!r}")
        return admin.as_dict()

    def put_admin_metadata(self, admin_metadata: Mapping[str, Any]) -> None:
        """Create the `dtool` object, freeze by it, or give a new name; see `dtool_s3.broker.creation`.

        Freezing raises what `dtool_s3.freezing.publish_frozen` raises, and ItemMissing if an upload of this
        broker failed and was not repeated.
        """
        is_freezing = admin_metadata.get("type") == DatasetType.FROZEN.value and not self._is_frozen()
        if not is_freezing:
            run(write_admin_metadata(self.store, self.layout, admin_metadata))
            return
        self._check_uploads()
        session = self._take_session()
        run(session.flip(admin_metadata))
        self._is_known_frozen = True
        self._session = session

    # Items.

    def put_item(self, fpath: str | os.PathLike[str], relpath: str) -> str:
        """Upload a file as the item `relpath` of a proto dataset; return the handle.

        Raises if it is not stored with the bytes that were hashed; see `dtool_s3.files.upload`. A failed item
        must be put again, or this broker refuses to freeze.
        """
        # One GET of `dtool` per item, on purpose: another broker, in this process too, may have frozen the
        # dataset since the last one, and an item written then would replace a frozen one. No age of an
        # earlier look rules that out; S3 has no condition on another key. Bulk uploads do not come this way.
        self._refuse_if_frozen("adding an item")
        self._session = None
        self._items.pop(relpath, None)
        self._failed_uploads.add(relpath)
        run(upload_file(self.store, self.layout, Path(fpath), relpath))
        self._failed_uploads.discard(relpath)
        return relpath

    def iter_item_handles(self) -> Iterator[str]:
        """Iterate over the handles of the items as one listing shows them now.

        While freezing they are those of the look taken at its start.
        """
        if self._session is not None and self._session.items is not None:
            self._items = self._session.items
        else:
            self._items = self._read_items(run(self.store.list(self.layout.data_prefix)).objects)
        return iter(list(self._items))

    def get_size_in_bytes(self, handle: str) -> int:
        """Return the size of an item in the store."""
        return self._item(handle).listed.size_bytes

    def get_utc_timestamp(self, handle: str) -> float:
        """Return the time of an item's upload, in whole seconds since 1970, UTC."""
        return self._item(handle).utc_timestamp

    def get_hash(self, handle: str) -> str:
        """Return an item's digest.

        Of a frozen dataset: that of the stored bytes, by the manifest's hash function, proven by an equal
        ETag or by reading. Of a proto dataset: the `checksum` that was uploaded with the bytes.
        """
        item = self._item(handle)
        if item.checksum is not None:
            return item.checksum
        return run(self._item_reader.hash_item(item, self._manifest().hash_function))

    def get_item_abspath(self, identifier: str) -> str:
        """Return the path of a local file with the item's bytes, compared with the manifest.

        Raises KeyError for an identifier that is not in the manifest, SourceNotFrozen, SourceDamaged.
        """
        if not self._is_frozen():
            raise SourceNotFrozen(f"{self._uri} is not frozen: its items may still change")
        manifest = self._manifest()
        if identifier not in manifest.items:
            raise dtoolcore.DtoolCoreKeyError(f"no item {identifier!r} in {self._uri}")
        item = manifest.items[identifier]
        return str(run(self._cache.fetch(self.store, self.layout, item, manifest.hash_function)))

    def add_item_metadata(self, handle: str, key: str, value: Any) -> None:
        """Store one value for an item of a proto dataset; freezing makes overlays of them."""
        if not name_is_valid(key):
            raise dtoolcore.DtoolCoreInvalidNameError(f"{key!r} cannot be the name of an overlay")
        self._refuse_if_frozen("adding item metadata")
        self._session = None
        fragment_key = self.layout.fragment_key(item_identifier(handle), key)
        run(self.store.put(fragment_key, json.dumps(value).encode()))

    def get_item_metadata(self, handle: str) -> dict[str, Any]:
        """Return the values stored for an item of a proto dataset, by name."""
        identifier = item_identifier(handle)
        if self._session is not None and self._session.items is not None:
            return self._session.item_metadata(identifier)
        objects = run(self.store.list(f"{self.layout.fragments_prefix}{identifier}.")).objects
        return run(read_fragments(self.store, self.layout, objects)).get(identifier, {})

    @functools.cached_property
    def _cache(self) -> ItemCache:
        return ItemCache(Path(self._s3_cache_abspath))

    @functools.cached_property
    def _item_reader(self) -> ItemReader:
        return ItemReader(self.store, self.layout)

    def _item(self, handle: str) -> Item:
        if handle not in self._items:
            key = self.layout.item_key(item_identifier(handle))
            objects = [o for o in run(self.store.list(key, limit=1)).objects if o.key == key]
            self._items.update(self._read_items(objects))
        if handle not in self._items:
            raise ItemMissing(f"there is no item {handle[:80]!r} in {self._uri}")
        return self._items[handle]

    def _read_items(self, objects: Sequence[ListedObject]) -> dict[str, Item]:
        if self._is_frozen():
            return run(self._item_reader.read_frozen(objects, self._manifest()))
        return run(self._item_reader.read_proto(objects))

    # Manifest and freezing.

    def get_manifest(self) -> dict[str, Any]:
        """Return the manifest as a dictionary.

        Raises InvalidManifest, UnsafePath for a relpath that leaves the dataset's directory, NotFound.
        """
        body = run(self.store.get(self.layout.manifest_key, max_bytes=MAX_MANIFEST_BYTES)).body
        parse_manifest(body)
        document: dict[str, Any] = json.loads(body)
        return document

    def _manifest(self) -> Manifest:
        """Manifest of a frozen dataset, read once: it does not change any more."""
        if self._known_manifest is None:
            self._known_manifest = parse_manifest(dump_manifest(self.get_manifest()))
        return self._known_manifest

    def put_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write the manifest of a proto dataset, if it names exactly what lies there.

        Raises what the first half of `dtool_s3.freezing.publish_frozen` raises, FrozenDataset among it.
        """
        self._check_uploads()
        session = self._take_session()
        run(session.write_manifest(dump_manifest(manifest)))
        self._session = session

    def rest_on(self, layout: DatasetLayout, seen: Listing) -> None:
        """Take this place, and freeze by a listing of it that the caller took, instead of one more look."""
        self._registered, self._seen = layout, seen

    def pre_freeze_hook(self) -> None:
        """Take the look at items and item metadata that the freezing rests on; nothing is written."""
        self._check_uploads()
        self._session = None
        session = FreezeSession(self.store, self.layout, self._item_reader)
        run(session.look(self._seen))
        self._session = session

    def post_freeze_hook(self) -> None:
        """Remove the item metadata that became overlays."""
        run(self._take_session().remove_fragments())
        self._items = {}

    def _take_session(self) -> FreezeSession:
        """The freezing under way, or one without a look; given back only if the next step succeeds."""
        session, self._session = self._session, None
        return session or FreezeSession(self.store, self.layout, self._item_reader)

    def _put(self, key: str, body: bytes) -> ObjectInfo:
        session, self._session = self._session, None
        info = super()._put(key, body)
        if session is not None:
            session.note_write(info)
            self._session = session
        return info

    def _check_uploads(self) -> None:
        if self._failed_uploads:
            names = ", ".join(repr(relpath[:80]) for relpath in sorted(self._failed_uploads)[:5])
            raise ItemMissing(
                f"{len(self._failed_uploads)} uploads failed and were not repeated ({names}): not frozen"
            )
