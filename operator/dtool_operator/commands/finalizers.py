"""`dtool-operator release-finalizers`: for uninstalling. Takes our finalizer off every DtoolDataset.

Whoever does so says: nobody will remove the data of deleted objects and of unfinished copies any more.
Touches no other finalizer, no data, and no object that has none of ours.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.names import API_VERSION, DATASET_PLURAL, FINALIZER

_ATTEMPTS: Final = 10
_PAGE: Final = "500"
_MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True)
class Released:
    """How many objects carry our finalizer, and from how many it was taken."""

    found: int = 0
    released: int = 0


async def release_finalizers(
    connection: Connection, *, namespace: str | None, is_dry_run: bool, say: Callable[[str], None]
) -> Released:
    """Go through all DtoolDatasets, of one namespace if it is given. Raises ApiFailure.

    Running it again goes on where it was interrupted.
    """
    found = released = 0
    async for body in _list_datasets(connection, namespace):
        if FINALIZER not in _finalizers(body):
            continue
        found += 1
        metadata = body["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}"
        deleting = ", being deleted" if "deletionTimestamp" in metadata else ""
        if is_dry_run:
            say(f"would release {name}{deleting}")
            continue
        if await _release(connection, body):
            released += 1
            say(f"released {name}{deleting}")
        else:
            say(f"failed {name}: it keeps changing; is the operator still running?")
    return Released(found, released)


async def _list_datasets(connection: Connection, namespace: str | None) -> AsyncIterator[dict[str, Any]]:
    """List page by page; a page is read only when the one before is done."""
    query = {"limit": _PAGE}
    while True:
        page = await connection.read(_path(namespace), query=query)
        for body in page["items"]:
            yield body
        if not (rest := page["metadata"].get("continue")):
            return
        query = {"limit": _PAGE, "continue": rest}


async def _release(connection: Connection, body: Mapping[str, Any]) -> bool:
    """Take the finalizer off one object as it is now; True also where it has gone or has none any more."""
    metadata = body["metadata"]
    path = f"{_path(metadata['namespace'])}/{metadata['name']}"
    uid = metadata["uid"]
    for _ in range(_ATTEMPTS):
        patch = {
            "uid": uid,
            "resourceVersion": metadata["resourceVersion"],
            "finalizers": [one for one in _finalizers(body) if one != FINALIZER],
        }
        try:
            await connection.write("PATCH", path, {"metadata": patch}, content_type=_MERGE_PATCH)
        except Refused as refused:
            if refused.status == 404:
                return True
            if refused.status != 409:
                raise
        else:
            return True
        try:
            body = await connection.read(path)
        except Refused as refused:
            if refused.status == 404:
                return True
            raise
        metadata = body["metadata"]
        if metadata["uid"] != uid or FINALIZER not in _finalizers(body):
            return True
    return False


def _finalizers(body: Mapping[str, Any]) -> list[str]:
    return list(body["metadata"].get("finalizers") or ())


def _path(namespace: str | None) -> str:
    where = "" if namespace is None else f"namespaces/{namespace}/"
    return f"/apis/{API_VERSION}/{where}{DATASET_PLURAL}"
