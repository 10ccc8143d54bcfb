"""A dataset derived from another: same content, an identity of its own; pure, no I/O.

Owns what of a derived dataset is not its source's: uuid, name, creator, times, and the annotation that says
where it comes from.
"""

import json
from dataclasses import replace
from importlib.metadata import version

from dtool_s3.documents import AdminMetadata, DatasetType
from dtool_s3.errors import SettingsError
from dtool_s3.naming import check_name

#: The annotation `{"uuid", "name"}` of the source, relative to the dataset's root.
DERIVED_FROM = "annotations/derived_from.json"


def check_identity(
    uuid: str, target_uuid: str | None, name: str | None, creator_username: str | None
) -> None:
    """Raise SettingsError unless a copy gets a whole new identity, with a name that dtool takes, or none."""
    if target_uuid is None:
        if name is not None or creator_username is not None:
            raise SettingsError("a copy that keeps its uuid keeps its name and its creator too")
        return
    if target_uuid == uuid:
        raise SettingsError(f"a dataset derived from {uuid} needs another uuid")
    if name is None or creator_username is None:
        raise SettingsError("a derived dataset needs a name and the name of its creator")
    check_name(name, of="a dataset")


def new_admin_metadata(uuid: str, name: str, creator_username: str, *, now: float) -> AdminMetadata:
    """Return the administrative metadata of a proto dataset created at `now`."""
    return AdminMetadata(
        uuid=uuid,
        type=DatasetType.PROTO,
        name=name,
        creator_username=creator_username,
        dtoolcore_version=version("dtoolcore"),
        created_at=now,
    )


def frozen_admin_metadata(proto: AdminMetadata, *, now: float) -> AdminMetadata:
    """Return what a proto dataset becomes when it is frozen at `now`."""
    return replace(proto, type=DatasetType.FROZEN, frozen_at=now)


def derived_from_body(source: AdminMetadata) -> bytes:
    """Return the annotation that names the source, in the form in which dtool writes annotations."""
    return json.dumps({"uuid": source.uuid, "name": source.name}, indent=2).encode()
