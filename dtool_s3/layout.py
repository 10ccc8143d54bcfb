"""Where everything of a dataset lies in a bucket; pure: (prefix, uuid) to keys, and the handle encoding.

Source: the key layout written by dtool-s3 0.14.1 (`FORMAT_VERSION`), read by every later version.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from dtool_s3.errors import UnsafePath
from dtool_s3.naming import name_few

#: The version of the *format* written, not of this library: readers decode handles by it.
FORMAT_VERSION = "0.14.1"

REGISTRATION_KEY_PREFIX = "dtool-"
OWNER_MARKER_NAME = ".dtool-owner"

#: S3 limits user metadata to 2 KiB per object; `checksum`, the names and the encoding share it.
MAX_RELPATH_BYTES = 1400

STRUCTURE_PARAMETERS: dict[str, str | None] = {
    "dataset_registration_key": None,
    "data_key_infix": "data",
    "fragment_key_infix": "fragments",
    "overlays_key_infix": "overlays",
    "annotations_key_infix": "annotations",
    "tags_key_infix": "tags",
    "structure_key_suffix": "structure.json",
    "dtool_readme_key_suffix": "README.txt",
    "dataset_readme_key_suffix": "README.yml",
    "manifest_key_suffix": "manifest.json",
    "admin_metadata_key_suffix": "dtool",
    "http_manifest_key": "http_manifest.json",
    "storage_broker_version": FORMAT_VERSION,
}

DTOOL_README_TXT = """README
======
These objects are one dtool dataset, kept in an S3 bucket.

$UUID stands for the dataset's identifier, $PREFIX for the text in front of it in
this key (it may be empty, and ends with a slash where it is not).

  dtool-$UUID                       at the top of the bucket: registers the dataset,
                                    its content is $PREFIX
  $PREFIX$UUID/dtool                administrative metadata; "type" is "dataset"
                                    once the dataset is frozen
  $PREFIX$UUID/structure.json       names of the keys below, version of the format
  $PREFIX$UUID/README.yml           descriptive metadata
  $PREFIX$UUID/manifest.json        path, size and MD5 of every item
  $PREFIX$UUID/data/                the items, each named by the SHA-1 of its path
  $PREFIX$UUID/overlays/            metadata of items
  $PREFIX$UUID/annotations/         key and value pairs
  $PREFIX$UUID/tags/                tags
"""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
#: Longest name that file systems in use hold, in bytes (POSIX NAME_MAX on ext4, XFS, APFS, NFS).
_MAX_SEGMENT_BYTES = 255


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """The keys of the dataset `uuid` under `prefix` (plain concatenation; `""` or ending in `/`)."""

    prefix: str
    uuid: str

    @property
    def registration_key(self) -> str:
        """Key at the bucket's top whose body is the prefix."""
        return f"{REGISTRATION_KEY_PREFIX}{self.uuid}"

    @property
    def root(self) -> str:
        """Common start of all keys but the registration key, with a trailing slash."""
        return f"{self.prefix}{self.uuid}/"

    @property
    def admin_metadata_key(self) -> str:
        """Key of the administrative metadata; its `type` says proto or frozen."""
        return f"{self.root}dtool"

    @property
    def structure_key(self) -> str:
        """Key of structure.json."""
        return f"{self.root}structure.json"

    @property
    def dtool_readme_key(self) -> str:
        """Key of the text that explains the layout to people."""
        return f"{self.root}README.txt"

    @property
    def readme_key(self) -> str:
        """Key of the dataset's README.yml."""
        return f"{self.root}README.yml"

    @property
    def manifest_key(self) -> str:
        """Key of the manifest."""
        return f"{self.root}manifest.json"

    @property
    def http_manifest_key(self) -> str:
        """Key of the manifest of a published dataset."""
        return f"{self.root}http_manifest.json"

    @property
    def data_prefix(self) -> str:
        """Start of all item keys."""
        return f"{self.root}data/"

    @property
    def fragments_prefix(self) -> str:
        """Start of the keys of item metadata, before freezing gathers them into overlays."""
        return f"{self.root}fragments/"

    @property
    def overlays_prefix(self) -> str:
        """Start of overlay keys."""
        return f"{self.root}overlays/"

    @property
    def annotations_prefix(self) -> str:
        """Start of annotation keys."""
        return f"{self.root}annotations/"

    @property
    def tags_prefix(self) -> str:
        """Start of tag keys."""
        return f"{self.root}tags/"

    def item_key(self, identifier: str) -> str:
        """Key of the item with `identifier` (40 hex digits)."""
        return f"{self.data_prefix}{identifier}"

    def overlay_key(self, name: str) -> str:
        """Key of the overlay `name`."""
        return f"{self.overlays_prefix}{name}.json"

    def annotation_key(self, name: str) -> str:
        """Key of the annotation `name`."""
        return f"{self.annotations_prefix}{name}.json"

    def tag_key(self, tag: str) -> str:
        """Key of `tag`."""
        return f"{self.tags_prefix}{tag}"

    def fragment_key(self, identifier: str, name: str) -> str:
        """Key of the value `name` of one item's metadata."""
        return f"{self.fragments_prefix}{identifier}.{name}.json"

    def structure_document(self) -> bytes:
        """Body of structure.json, as dtool writes it (indent 2, sorted)."""
        parameters = STRUCTURE_PARAMETERS | {"dataset_registration_key": self.registration_key}
        return json.dumps(parameters, indent=2, sort_keys=True).encode()


def item_identifier(relpath: str) -> str:
    """Identifier of an item: SHA-1 hex digest of the relpath in UTF-8."""
    return hashlib.sha1(relpath.encode(), usedforsecurity=False).hexdigest()


def encode_handle(relpath: str) -> str:
    """Encode `relpath` for the `handle` metadata header (base64 of UTF-8, padded)."""
    return base64.b64encode(relpath.encode()).decode("ascii")


def decode_handle(handle: str, identifier: str) -> str | None:
    """Decode a `handle` header of any era; None if no reading of it hashes to `identifier`.

    The item's key ends in the identifier of its relpath, so the key itself tells base64 from the raw
    form that writers before 0.14.0 used.
    """
    try:
        decoded = base64.b64decode(handle, validate=True).decode()
    except (binascii.Error, ValueError):
        decoded = None
    candidates = (decoded, handle, _latin1_as_utf8(handle), _encoded_words_as_text(handle))
    return next((c for c in candidates if c is not None and item_identifier(c) == identifier), None)


def _latin1_as_utf8(text: str) -> str | None:
    """Undo an HTTP library's reading of UTF-8 header bytes as Latin-1."""
    try:
        return text.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return None


def _encoded_words_as_text(text: str) -> str | None:
    """Decode `=?UTF-8?B?…?=`, the form in which S3 returns header values that are not ASCII (RFC 2047)."""
    if "=?" not in text:
        return None
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, LookupError, ValueError):
        return None


def item_metadata(relpath: str, md5_hexdigest: str) -> dict[str, str]:
    """User metadata of an item object."""
    return {"handle": encode_handle(relpath), "checksum": md5_hexdigest}


def check_relpath(relpath: str) -> str:
    """Return `relpath` if it stays inside a dataset's directory and fits its header; raise UnsafePath."""
    if not relpath or relpath.startswith("/") or "\x00" in relpath:
        raise UnsafePath(f"relpath {relpath[:80]!r} is empty, absolute or contains NUL")
    if ".." in relpath.split("/"):
        raise UnsafePath(f"relpath {relpath[:80]!r} leaves the dataset's directory")
    try:
        size_bytes = len(relpath.encode())
    except UnicodeEncodeError as error:
        raise UnsafePath(f"relpath {relpath[:80]!r} is not valid Unicode") from error
    if size_bytes > MAX_RELPATH_BYTES:
        raise UnsafePath(
            f"relpath {relpath[:80]!r}… has {size_bytes} bytes; more than {MAX_RELPATH_BYTES} do not fit "
            "the object's metadata header"
        )
    return relpath


def check_disk_relpaths(relpaths: Iterable[str]) -> None:
    """Raise UnsafePath, naming up to five, for relpaths that no directory tree can hold side by side.

    S3 keys are hashes, so there every relpath has its place. On a disk an empty or `.` segment, or a slash at
    the end, means another file; a name may be too long; and what is a file cannot be a directory of others.
    For whoever writes files, before the first one, and for new datasets, which should fit on disks.
    """
    known = set(relpaths)
    problems = {path: problem for path in sorted(known) if (problem := _problem_on_disk(path, known))}
    if problems:
        why = next(iter(problems.values()))
        raise UnsafePath(f"no directory can hold these relpaths: {name_few(list(problems))} ({why})")


def _problem_on_disk(relpath: str, known: set[str]) -> str | None:
    segments = check_relpath(relpath).split("/")
    if "" in segments or "." in segments:
        return "has an empty or '.' segment"
    if max(len(segment.encode()) for segment in segments) > _MAX_SEGMENT_BYTES:
        return f"has a name above {_MAX_SEGMENT_BYTES} bytes"
    ends = (end for end, character in enumerate(relpath) if character == "/")
    above = next((relpath[:end] for end in ends if relpath[:end] in known), None)
    return None if above is None else f"lies below {above[:80]!r}, which is a file"


def is_safe_prefix(prefix: str) -> bool:
    """Tell whether dataset keys may be written under `prefix`: `""`, or whole segments ending in `/`.

    No empty, `.` or `..` segment, no control character; not starting with `/` or `dtool`, which would
    mix with registration keys.
    """
    if prefix == "":
        return True
    if not prefix.endswith("/") or prefix.startswith("dtool") or _CONTROL.search(prefix):
        return False
    return all(segment not in {"", ".", ".."} for segment in prefix[:-1].split("/"))
