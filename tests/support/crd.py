"""The CRDs' schemas, as far as a fake API server needs them: defaults, and what does not fit. No CEL."""

import copy
import functools
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

Schema = dict[str, Any]

CRDS = Path(__file__).parents[2] / "crds"


@functools.cache
def load_schema(plural: str) -> Schema:
    """Read the schema of a kind's objects, in the terms of JSON Schema, unknown fields refused."""
    document = yaml.safe_load((CRDS / f"{plural}.yaml").read_text())
    (version,) = document["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    return _convert({"type": "object", "properties": {key: properties[key] for key in ("spec", "status")}})


def with_defaults(plural: str, body: dict[str, Any]) -> dict[str, Any]:
    """Fill in defaults as the API server does on every write."""
    filled = copy.deepcopy(body)
    _fill(load_schema(plural), filled)
    return filled


def find_faults(plural: str, body: dict[str, Any]) -> list[str]:
    """Say what in spec and status the API server would refuse."""
    known = {key: body[key] for key in ("spec", "status") if key in body}
    errors = Draft202012Validator(load_schema(plural)).iter_errors(known)
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def _convert(schema: Schema) -> Schema:
    converted = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("nullable"):
        converted["type"] = [schema["type"], "null"] if "type" in schema else converted.pop("type", None)
        converted = {key: value for key, value in converted.items() if value is not None}
    if schema.get("x-kubernetes-list-type") == "set":
        converted["uniqueItems"] = True
    if "properties" in schema:
        converted["properties"] = {key: _convert(child) for key, child in schema["properties"].items()}
        converted.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            converted[key] = _convert(schema[key])
    return converted


def _fill(schema: Schema, value: Any) -> None:
    if isinstance(value, dict):
        for key, child in schema.get("properties", {}).items():
            if key not in value and "default" in child:
                value[key] = copy.deepcopy(child["default"])
            if key in value:
                _fill(child, value[key])
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            for key in value.keys() - schema.get("properties", {}).keys():
                _fill(extra, value[key])
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            _fill(schema["items"], item)
