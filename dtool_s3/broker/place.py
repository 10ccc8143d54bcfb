"""The part of the broker that is about places: its configuration, its store, where the dataset's keys are.

Works also in subclasses that never call the constructor and assign bucket, uuid, boto3 objects and key
prefixes by themselves, as brokers for other S3 services do. Reads the registration key, nothing else.
"""

import functools
import os
from pathlib import Path
from typing import Any, ClassVar, Self, overload

from dtoolcore.storagebroker import BaseStorageBroker

from dtool_s3.blocking import run
from dtool_s3.configuration import (
    Configuration,
    check_installation,
    default_cache_directory,
    open_store,
    read_configuration,
)
from dtool_s3.errors import DatasetMissing, FrozenDataset, InvalidURI
from dtool_s3.layout import STRUCTURE_PARAMETERS, DatasetLayout
from dtool_s3.registration import read_registration
from dtool_s3.store.protocol import Store
from dtool_s3.transfer.inventory import read_admin_metadata
from dtool_s3.uri import BaseURI, DatasetURI, parse_uri

#: A plain dictionary because others deep-copy it; nobody changes it.
_STRUCTURE_PARAMETERS = dict(STRUCTURE_PARAMETERS)


class Boto3Object:
    """A boto3 object of a broker, made when it is first asked for, or the one that was assigned.

    The broker's own requests are made with what `s3client` or `s3resource` was assigned.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, broker: None, owner: type) -> Self: ...
    @overload
    def __get__(self, broker: "PlaceBroker", owner: type) -> Any: ...
    def __get__(self, broker: "PlaceBroker | None", owner: type) -> Any:
        if broker is None:
            return self
        kept = broker.__dict__
        if self._name not in kept:
            kept[self._name] = _make_boto3_object(self._name, broker._configuration)  # noqa: SLF001
        return kept[self._name]

    def __set__(self, broker: "PlaceBroker", assigned: Any) -> None:
        broker.__dict__[self._name] = assigned
        if self._name != "unsigned_s3client":
            broker._request_with(assigned)  # noqa: SLF001


def _make_boto3_object(name: str, configuration: Configuration) -> Any:
    from dtool_s3.store.boto import boto3_object  # noqa: PLC0415 - boto3 costs half a second, only if asked for

    credentials = configuration.credentials()
    if name == "s3resource":
        return boto3_object.open_resource(configuration.endpoint, credentials)
    return boto3_object.open_client(
        configuration.endpoint, credentials, is_unsigned=name == "unsigned_s3client"
    )


class PlaceBroker(BaseStorageBroker):  # type: ignore[misc]  # dtoolcore has no types
    """Place of one dataset, or of a bucket's datasets.

    `store`, `prefix` (where a new dataset goes) and `cache_directory` may be given in Python; otherwise
    dtool's variables are read, from the environment and from `config_path`. The constructor makes no request.
    """

    #: The URI scheme, by which dtoolcore finds the class.
    key: ClassVar[str] = "s3"

    bucket: str
    uuid: str
    #: Prefix of new datasets; None: the bucket's top.
    dataset_prefix: str | None = None

    s3client = Boto3Object()
    s3resource = Boto3Object()
    unsigned_s3client = Boto3Object()

    # Defaults of the class and cached properties, because a subclass may not call the constructor.
    _registered: DatasetLayout | None = None
    _is_known_frozen = False
    _assigned_client: Any = None

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
        parsed = self._parse(uri)
        self.bucket = parsed.bucket
        self.uuid = parsed.uuid if isinstance(parsed, DatasetURI) else ""
        self._configuration = (
            read_configuration(self.bucket, config_path)
            if store is None
            else Configuration(
                self.bucket,
                prefix=prefix,
                cache_directory=cache_directory or default_cache_directory(),
                store=store,
            )
        )
        self.dataset_prefix = self._configuration.prefix or None

    @classmethod
    def _parse(cls, uri: str) -> BaseURI | DatasetURI:
        """Parse a URI of this broker's scheme. Raises InvalidURI."""
        own, s3 = f"{cls.key}://", "s3://"
        return parse_uri(s3 + uri.removeprefix(own) if uri.startswith(own) else uri)

    @property
    def _uri(self) -> str:
        return f"{self.key}://{self.bucket}/{self.uuid}"

    @functools.cached_property
    def _configuration(self) -> Configuration:
        """What a subclass assigned that did not call the constructor."""
        cache = self.__dict__.get("_s3_cache_abspath") or default_cache_directory()
        return Configuration(self.bucket, prefix=self.dataset_prefix or "", cache_directory=Path(cache))

    @functools.cached_property
    def _s3_cache_abspath(self) -> str:
        """Directory of downloaded items."""
        return str(self._configuration.cache_directory)

    @functools.cached_property
    def store(self) -> Store:
        """The bucket; opened at the first request, with an assigned boto3 client's endpoint and keys."""
        if self._assigned_client is None:
            return open_store(self._configuration)
        from dtool_s3.store.boto import boto3_object  # noqa: PLC0415 - see above

        return boto3_object.adopt_client(self._assigned_client, self.bucket)

    def _request_with(self, assigned: Any) -> None:
        """Open the store anew at the next request, with what an assigned client or resource knows."""
        self._assigned_client = getattr(assigned.meta, "client", assigned)
        for name in ("store", "_item_reader"):
            self.__dict__.pop(name, None)

    @property
    def layout(self) -> DatasetLayout:
        """Where the dataset lies: under its registered prefix, or where it would be created.

        Only a registration key that does not exist leads to the configured prefix; every other answer of
        the store is an error.
        """
        if self._registered is not None:
            return self._registered
        if not self.uuid:
            raise InvalidURI(f"{self._uri} names a bucket, not a dataset: append the dataset's UUID")
        prefix = run(read_registration(self.store, self.uuid))
        if prefix is None:
            return DatasetLayout(self._configuration.prefix, self.uuid)
        self._registered = DatasetLayout(prefix, self.uuid)
        return self._registered

    def _is_frozen(self) -> bool:
        """Tell whether the dataset is frozen; asked anew until it is, since nothing frozen is ever undone."""
        if not self._is_known_frozen:
            admin = run(read_admin_metadata(self.store, self.layout))
            self._is_known_frozen = admin is not None and admin.is_frozen
            if admin is None and self._registered is None:
                raise DatasetMissing(f"there is no dataset {self._uri}: its registration key does not exist")
        return self._is_known_frozen

    def _refuse_if_frozen(self, action: str) -> None:
        if self._is_frozen():
            raise FrozenDataset(f"{self._uri} is frozen: {action} is refused")

    # Keys, by upstream's names; the cached ones may be assigned.

    @functools.cached_property
    def dataset_registration_key(self) -> str:
        """Key at the bucket's top that names the prefix."""
        return f"dtool-{self.uuid}"

    @functools.cached_property
    def _structure_parameters(self) -> dict[str, str | None]:
        return {**_STRUCTURE_PARAMETERS, "dataset_registration_key": self.dataset_registration_key}

    def _get_prefix(self) -> str:
        return self._key_layout().prefix

    def _key_layout(self) -> DatasetLayout:
        """The layout; that of a base URI too, whose keys subclasses make in their constructors."""
        return self.layout if self.uuid else DatasetLayout(self._configuration.prefix, "")

    def _generate_key(self, structure_dict_key: str) -> str:
        return f"{self._key_layout().root}{self._structure_parameters[structure_dict_key]}"

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
