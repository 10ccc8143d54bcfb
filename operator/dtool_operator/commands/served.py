"""Whether the API server serves our kinds as this operator knows them: it silently drops other fields.

Asks discovery and OpenAPI, which every ServiceAccount may read; the CRDs themselves the operator may not.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pydantic import BaseModel

from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.api.bucket import DtoolBucketSpec
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.dataset import DtoolDatasetSpec
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.commands.finding import Finding
from dtool_operator.names import API_VERSION, BUCKET_KIND, DATASET_KIND

_MODELS: Final[Mapping[str, Mapping[str, type[BaseModel]]]] = {
    BUCKET_KIND: {"spec": DtoolBucketSpec, "status": DtoolBucketStatus},
    DATASET_KIND: {"spec": DtoolDatasetSpec, "status": DtoolDatasetStatus},
}
_ADVICE: Final = "kubectl apply the CRDs of this version"
_SHOWN: Final = 10

Schema = Mapping[str, Any]


async def check_kinds(connection: Connection) -> Finding:
    """Compare what is served with what is known. Raises ApiFailure."""
    try:
        document = await connection.read(f"/openapi/v3/apis/{API_VERSION}")
    except Refused as refused:
        if refused.status != 404:
            raise
        return Finding("kinds", ok=False, message=f"{API_VERSION} is not served", advice=_ADVICE)
    served = {_find_kind(schema): schema for schema in document["components"]["schemas"].values()}
    missing = list(_find_missing(served))
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        return Finding("kinds", ok=False, message=f"not served: {shown}{more}", advice=_ADVICE)
    return Finding("kinds", ok=True, message=f"{API_VERSION} is served, with every field of this version")


def _find_kind(schema: Schema) -> str:
    """Return the kind of ours that a schema describes, or nothing."""
    for one in schema.get("x-kubernetes-group-version-kind", ()):
        if f"{one['group']}/{one['version']}" == API_VERSION:
            return str(one["kind"])
    return ""


def _find_missing(served: Mapping[str, Schema]) -> Iterator[str]:
    for kind, parts in _MODELS.items():
        if kind not in served:
            yield kind
            continue
        for part, model in parts.items():
            known = model.model_json_schema(by_alias=True)
            there = served[kind]["properties"].get(part, {})
            for path in _compare(known, there, known.get("$defs", {})):
                yield f"{kind}.{part}.{path}"


def _compare(known: Schema, there: Schema, definitions: Mapping[str, Schema]) -> Iterator[str]:
    """Yield the paths that a served schema lacks; what it leaves open has everything."""
    if there.get("x-kubernetes-preserve-unknown-fields"):
        return
    known = _resolve(known, definitions)
    if "items" in known:
        yield from _compare(known["items"], there.get("items", {}), definitions)
    for name, schema in known.get("properties", {}).items():
        if name not in there.get("properties", {}):
            yield name
            continue
        for path in _compare(schema, there["properties"][name], definitions):
            yield f"{name}.{path}"


def _resolve(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Follow a reference, through `X or null` too."""
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return _resolve(choice, definitions)
    reference = schema.get("$ref")
    return definitions[reference.rpartition("/")[2]] if reference else schema
