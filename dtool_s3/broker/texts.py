"""The part of the broker that is about small texts: README, overlays, annotations, tags, the description.

Items, their metadata and freezing are in `dtool_s3.storagebroker`; their keys are not written from here.
"""

from dtool_s3.blocking import run
from dtool_s3.broker.place import PlaceBroker
from dtool_s3.documents import MAX_OVERLAY_BYTES
from dtool_s3.errors import ContentDiffers, NotFound, NotSupported
from dtool_s3.layout import DTOOL_README_TXT
from dtool_s3.metadata import update_readme
from dtool_s3.publication.contents import names_below
from dtool_s3.store.protocol import ObjectInfo

#: Servers that keep objects in a file system may follow them out of the dataset.
_ODD_SEGMENTS = frozenset({"", ".", ".."})


class TextBroker(PlaceBroker):
    """Texts of one dataset."""

    _dtool_readme_txt = DTOOL_README_TXT

    def _document_structure(self) -> None:
        """Write structure.json and README.txt.

        The format's version is ours also in a subclass that puts another into its `_structure_parameters`: by
        it readers tell how our handles are encoded.
        """
        self.put_text(self.get_structure_key(), self.layout.structure_document().decode())
        self.put_text(self.get_dtool_readme_key(), self._dtool_readme_txt)

    def get_text(self, key: str) -> str:
        """Read a text of at most 256 MiB. Raises NotFound, StorageError, ContentDiffers (not UTF-8)."""
        body = run(self.store.get(key, max_bytes=MAX_OVERLAY_BYTES)).body
        try:
            return body.decode()
        except UnicodeDecodeError as error:
            raise ContentDiffers(f"{key!r} in bucket {self.bucket!r} is not UTF-8 text") from error

    def put_text(self, key: str, text: str) -> None:
        """Write a text. Raises NotSupported for other keys than the dataset's, and those of its items."""
        self._check_key(key)
        self._put(key, text.encode())

    def delete_key(self, key: str) -> None:
        """Delete a text. Raises NotSupported for items, manifest and administrative metadata."""
        self._check_key(key)
        run(self.store.delete(key))

    def _check_key(self, key: str) -> None:
        layout = self.layout
        own = (layout.admin_metadata_key, layout.manifest_key, layout.registration_key)
        inside = key.removeprefix(layout.root)
        is_outside = inside == key or not _ODD_SEGMENTS.isdisjoint(inside.split("/"))
        if is_outside or key in own or key.startswith(layout.data_prefix):
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
        """Write README.yml after keeping the old one; see `dtool_s3.metadata.update_readme`."""
        run(update_readme(self.store, self.layout, content))

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
        return names_below(prefix, run(self.store.list(prefix)).objects, suffix)
