"""The part of the broker that is about places and small texts: keys, README, overlays, annotations, tags.

Owns the configuration of one broker and where its dataset lies. Items, their metadata and freezing are in
`dtool_s3.storagebroker`; the keys they own are not written from here.
"""

import functools
import os
from datetime import UTC, datetime
from pathlib import Path

from dtoolcore.storagebroker import BaseStorageBroker
from dtoolcore.utils import timestamp

from dtool_s3.blocking import run
from dtool_s3.configuration import (
    Configuration,
    check_installation,
    default_cache_directory,
    open_store,
    read_configuration,
)
from dtool_s3.creation import find_admin_metadata
from dtool_s3.documents import MAX_OVERLAY_BYTES
from dtool_s3.errors import DatasetMissing, FrozenDataset, InvalidURI, NotFound, NotSupported
from dtool_s3.layout import STRUCTURE_PARAMETERS, DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import ObjectInfo, Store
from dtool_s3.uri import DatasetURI, parse_uri

#: A plain dictionary because others deep-copy it; nobody changes it.
_STRUCTURE_PARAMETERS = dict(STRUCTURE_PARAMETERS)


class TextBroker(BaseStorageBroker):  # type: ignore[misc]  # dtoolcore has no types
    """Places and texts of one dataset.

    `store`, `prefix` (where a new dataset goes) and `cache_directory` may be given in Python; otherwise
    dtool's variables are read, from the environment and from `config_path`. The constructor makes no request.
    """

    def __init__(
        self,
        uri: str,
        config_path: str | os.PathLike[str] | None = None,
        *,
        store: Store | None = None,
        prefix: str = "",
        cache_directory: Path | None = None,
    ) -> None:
        check_installation()
        parsed = parse_uri(uri)
        self.bucket = parsed.bucket
        self.uuid = parsed.uuid if isinstance(parsed, DatasetURI) else ""
        self._configuration: Configuration = (
            read_configuration(self.bucket, config_path)
            if store is None
            else Configuration(
                self.bucket,
                prefix=prefix,
                cache_directory=cache_directory or default_cache_directory(),
                store=store,
            )
        )
        self._registered: DatasetLayout | None = None
        self._is_known_frozen = False
        self.dataset_prefix = self._configuration.prefix or None
        self.dataset_registration_key = f"dtool-{self.uuid}"
        self._structure_parameters = {
            **_STRUCTURE_PARAMETERS,
            "dataset_registration_key": self.dataset_registration_key,
        }

    @property
    def _uri(self) -> str:
        return f"s3://{self.bucket}/{self.uuid}"

    @functools.cached_property
    def store(self) -> Store:
        """The bucket; opened at the first request."""
        return open_store(self._configuration)

    @property
    def layout(self) -> DatasetLayout:
        """Where the dataset lies: under its registered prefix, or where it would be created.

        Only a registration key that does not exist leads to the configured prefix; every other answer of
        the store is an error.
        """
        if self._registered is not None:
            return self._registered
        if not self.uuid:
            raise InvalidURI(f"s3://{self.bucket} names a bucket, not a dataset: append /<uuid>")
        prefix = run(read_registration(self.store, self.uuid))
        if prefix is None:
            return DatasetLayout(self._configuration.prefix, self.uuid)
        self._registered = DatasetLayout(prefix, self.uuid)
        return self._registered

    def _is_frozen(self) -> bool:
        """Tell whether the dataset is frozen; asked anew until it is, since nothing frozen is ever undone."""
        if not self._is_known_frozen:
            admin = run(find_admin_metadata(self.store, self.layout))
            self._is_known_frozen = admin is not None and admin.is_frozen
            if admin is None and self._registered is None:
                raise DatasetMissing(f"there is no dataset {self._uri}: its registration key does not exist")
        return self._is_known_frozen

    def _refuse_if_frozen(self, action: str) -> None:
        if self._is_frozen():
            raise FrozenDataset(f"{self._uri} is frozen: {action} is refused")

    # Keys, by upstream's names; the cached ones may be assigned.

    def _get_prefix(self) -> str:
        return self.layout.prefix

    def _generate_key(self, structure_dict_key: str) -> str:
        return f"{self.layout.root}{self._structure_parameters[structure_dict_key]}"

    def _generate_key_prefix(self, structure_dict_key: str) -> str:
        return f"{self._generate_key(structure_dict_key)}/"

    @functools.cached_property
    def data_key_prefix(self) -> str:
        """Start of all item keys."""
        return self.layout.data_prefix

    @functools.cached_property
    def fragments_key_prefix(self) -> str:
        """Start of the keys of item metadata."""
        return self.layout.fragments_prefix

    @functools.cached_property
    def overlays_key_prefix(self) -> str:
        """Start of overlay keys."""
        return self.layout.overlays_prefix

    @functools.cached_property
    def annotations_key_prefix(self) -> str:
        """Start of annotation keys."""
        return self.layout.annotations_prefix

    @functools.cached_property
    def tags_key_prefix(self) -> str:
        """Start of tag keys."""
        return self.layout.tags_prefix

    @functools.cached_property
    def http_manifest_key(self) -> str:
        """Key of the manifest of a published dataset."""
        return self.layout.http_manifest_key

    def get_structure_key(self) -> str:
        """Return the key of structure.json."""
        return self.layout.structure_key

    def get_dtool_readme_key(self) -> str:
        """Return the key of README.txt."""
        return self.layout.dtool_readme_key

    def get_readme_key(self) -> str:
        """Return the key of README.yml."""
        return self.layout.readme_key

    def get_manifest_key(self) -> str:
        """Return the key of manifest.json."""
        return self.layout.manifest_key

    def get_admin_metadata_key(self) -> str:
        """Return the key of the administrative metadata."""
        return self.layout.admin_metadata_key

    def get_overlay_key(self, overlay_name: str) -> str:
        """Return the key of an overlay."""
        return self.layout.overlay_key(overlay_name)

    def get_annotation_key(self, annotation_name: str) -> str:
        """Return the key of an annotation."""
        return self.layout.annotation_key(annotation_name)

    def get_tag_key(self, tag: str) -> str:
        """Return the key of a tag."""
        return self.layout.tag_key(tag)

    # Texts.

    def get_text(self, key: str) -> str:
        """Read a text of at most 256 MiB. Raises NotFound, StorageError."""
        return run(self.store.get(key, max_bytes=MAX_OVERLAY_BYTES)).body.decode()

    def put_text(self, key: str, text: str) -> None:
        """Write a text. Raises NotSupported for keys that are written by methods of their own."""
        self._check_key(key)
        self._put(key, text.encode())

    def delete_key(self, key: str) -> None:
        """Delete a text. Raises NotSupported for items, manifest and administrative metadata."""
        self._check_key(key)
        run(self.store.delete(key))

    def _check_key(self, key: str) -> None:
        layout = self.layout
        own = (layout.admin_metadata_key, layout.manifest_key, layout.registration_key)
        if key in own or key.startswith(layout.data_prefix):
            raise NotSupported(f"{key!r} is not a text to be written or deleted by its key")

    def _put(self, key: str, body: bytes) -> ObjectInfo:
        return run(self.store.put(key, body))

    def get_readme_content(self) -> str:
        """Return README.yml; `""` where there is none (an interrupted creation)."""
        try:
            return self.get_text(self.get_readme_key())
        except NotFound:
            return ""

    def put_readme(self, content: str) -> None:
        """Write README.yml of a proto dataset. Raises FrozenDataset; then `update_readme` is meant."""
        self._refuse_if_frozen("replacing README.yml without keeping the old one")
        self.put_text(self.get_readme_key(), content)

    def update_readme(self, content: str) -> None:
        """Write README.yml after keeping the old one as `README.yml-<seconds since 1970, UTC>`."""
        key = self.get_readme_key()
        now = timestamp(datetime.now(UTC).replace(tzinfo=None))
        self.put_text(f"{key}-{now}", self.get_readme_content())
        self.put_text(key, content)

    def list_overlay_names(self) -> list[str]:
        """Return the names of all overlays; names may contain dots."""
        return self._list_names(self.layout.overlays_prefix, ".json")

    def list_annotation_names(self) -> list[str]:
        """Return the names of all annotations; names may contain dots."""
        return self._list_names(self.layout.annotations_prefix, ".json")

    def list_tags(self) -> list[str]:
        """Return all tags."""
        return self._list_names(self.layout.tags_prefix, "")

    def _list_historical_readme_keys(self) -> list[str]:
        prefix = f"{self.get_readme_key()}-"
        return [listed.key for listed in run(self.store.list(prefix)).objects]

    def _list_names(self, prefix: str, suffix: str) -> list[str]:
        """Names directly below a prefix; directory markers and other tools' keys are none."""
        listing = run(self.store.list(prefix))
        names = [o.key[len(prefix) :] for o in listing.objects if o.key.endswith(suffix)]
        return [name[: len(name) - len(suffix)] for name in names if name != suffix and "/" not in name]
