"""Datasets as earlier versions of dtool-s3, other tools and accidents left them; for tests only.

Built from what is known of those versions: which documents they wrote, how they encoded handles, which
headers they set. Each is a `DatasetFixture` that is written as of today and then changed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from dtool_s3.layout import STRUCTURE_PARAMETERS, DatasetLayout, encode_handle, item_identifier
from dtool_s3.store.protocol import Store
from tests.support.datasets import DatasetFixture, md5, write_dataset

ASCII_ITEMS: Mapping[str, bytes] = {
    "a.txt": b"alpha",
    "sub dir/b.v1.2.csv": b"1,2\n",
    "empty": b"",
    "YWJj": b"a name that is base64, too",
}
OTHER_ITEMS: Mapping[str, bytes] = {**ASCII_ITEMS, "ünï/cödé 例.bin": bytes(range(256)), "50% +&?#.x": b"%"}
#: Headers of `dtool` whose names have underscores: proxies drop them.
UNDERSCORED = frozenset({"creator_username", "dtoolcore_version", "created_at", "frozen_at"})
_EVERY_HEADER = frozenset({"uuid", "name", "type"}) | UNDERSCORED


@dataclass(frozen=True, slots=True)
class Era:
    """How a dataset differs from what 0.14.1 writes.

    `structure`: body of structure.json; None: there is none. `dtool`: body of the administrative metadata,
    None: JSON. `is_at_top`: written before there were prefixes. `lost_headers` are those of `dtool`.
    `foreign`: further keys, relative to the dataset's root, and their bodies.
    """

    structure: bytes | None
    dtool: bytes | None = None
    is_at_top: bool = False
    has_base64_handles: bool = True
    has_checksums: bool = True
    has_item_headers: bool = True
    has_capital_headers: bool = False
    lost_headers: frozenset[str] = frozenset()
    names: str = "plain"
    creator_username: str = "olssont"
    foreign: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def items(self) -> Mapping[str, bytes]:
        """Bytes by relpath; headers held ASCII only until handles became base64."""
        return OTHER_ITEMS if self.has_base64_handles else ASCII_ITEMS

    def dataset(self, uuid: str, prefix: str, *, is_frozen: bool = True) -> DatasetFixture:
        """Return the dataset as 0.14.1 would have written it."""
        return DatasetFixture(
            uuid,
            "" if self.is_at_top else prefix,
            items=self.items,
            is_frozen=is_frozen,
            tags=(self.names, "2026"),
            annotations={self.names: {"by": "hand"}},
            overlays={self.names: {item_identifier(relpath): len(relpath) for relpath in self.items}},
        )


def structure(version: object = None, **changes: object) -> bytes:
    """Body of a structure.json whose storage_broker_version is anything, null among it."""
    return json.dumps(
        {**STRUCTURE_PARAMETERS, "storage_broker_version": version, **changes}, indent=2
    ).encode()


def _without_version(*, is_compact: bool) -> bytes:
    parameters = {n: v for n, v in STRUCTURE_PARAMETERS.items() if n != "storage_broker_version"}
    return json.dumps(parameters, indent=None if is_compact else 2).encode()


def _raw(version: str, **changes: object) -> Era:
    return Era(structure(version), has_base64_handles=False, **changes)  # type: ignore[arg-type]


_NOW = structure("0.14.1")

ERAS: Mapping[str, Era] = {
    "0.3.0": Era(
        _without_version(is_compact=True),
        dtool=b"dtoolfile",
        is_at_top=True,
        has_base64_handles=False,
        has_checksums=False,
    ),
    "0.4.0": _raw("0.4.0", is_at_top=True, has_checksums=False),
    "0.4.1": _raw("0.4.1", is_at_top=True),
    "0.11.0": _raw("0.11.0"),
    "0.13.0": _raw("0.13.0"),
    "0.14.0": Era(structure("0.14.0")),
    "0.14.1": Era(_NOW),
    "0.15.0": Era(structure("0.15.0")),
    "0.13.0 over base64 handles": Era(structure("0.13.0")),
    "0.14.0.dev1": Era(structure("0.14.0.dev1")),
    "0.1.dev12": Era(structure("0.1.dev12")),
    "main-abc": Era(structure("main-abc")),
    "version null": Era(structure(None)),
    "version a number": Era(structure(14)),
    "version absent": Era(_without_version(is_compact=False)),
    "structure.json missing": Era(None),
    "structure.json missing, raw handles": Era(None, has_base64_handles=False),
    "structure.json broken": Era(b'{"storage_broker'),
    "headers of dtool lost": Era(_NOW, lost_headers=_EVERY_HEADER),
    "headers with underscores lost": Era(_NOW, lost_headers=UNDERSCORED),
    "type and name lost": Era(_NOW, lost_headers=frozenset({"type", "name"})),
    "headers of items lost": Era(_NOW, has_item_headers=False),
    "all headers lost": Era(_NOW, lost_headers=_EVERY_HEADER, has_item_headers=False),
    "case of headers changed": Era(_NOW, has_capital_headers=True),
    "directory markers": Era(
        _NOW, foreign=dict.fromkeys(("", "data/", "overlays/", "annotations/", "tags/", "fragments/"), b"")
    ),
    "foreign keys": Era(
        _NOW, foreign={"dtool.json": b"{}", "dtool~": b"", "Thumbs.db": b"x", "README.yml-1.5": b""}
    ),
    "dotted names": Era(_NOW, names="v1.2"),
    "creator beyond ASCII": Era(_NOW, creator_username="tjelvar.ölsson"),
}


async def write_era(store: Store, era: Era, dataset: DatasetFixture) -> DatasetLayout:
    """Write a dataset as it was left; return its layout."""
    layout = await write_dataset(store, dataset)
    if era.structure is None:
        await store.delete(layout.structure_key)
    else:
        await store.put(layout.structure_key, era.structure)
    for relpath, body in era.items.items():
        key = layout.item_key(item_identifier(relpath))
        await store.put(key, body, metadata=_item_headers(era, relpath, body))
    fields = {**dataset.admin(), "creator_username": era.creator_username}
    headers = {name: str(value).encode("ascii", "replace").decode() for name, value in fields.items()}
    kept = {name: value for name, value in headers.items() if name not in era.lost_headers}
    body = json.dumps(fields).encode() if era.dtool is None else era.dtool
    await store.put(layout.admin_metadata_key, body, metadata=_cased(era, kept))
    for name, body in era.foreign.items():
        await store.put(f"{layout.root}{name}", body)
    return layout


def _item_headers(era: Era, relpath: str, body: bytes) -> Mapping[str, str]:
    if not era.has_item_headers:
        return {}
    headers = {"handle": encode_handle(relpath) if era.has_base64_handles else relpath}
    return _cased(era, headers | ({"checksum": md5(body)} if era.has_checksums else {}))


def _cased(era: Era, headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.title() if era.has_capital_headers else name: value for name, value in headers.items()}
