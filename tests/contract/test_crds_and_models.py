"""The CRDs and the operator's models say the same: fields, types, bounds, choices, defaults, refusals."""

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, TypeAdapter

from dtool_operator import names
from dtool_operator.api import access, bucket, bucket_status, conditions, dataset, dataset_status, source
from dtool_operator.api.bucket import DtoolBucket, DtoolBucketSpec, parse_bucket
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.conditions import ConditionType
from dtool_operator.api.dataset import DtoolDataset, DtoolDatasetSpec, parse_dataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.quantities import parse_duration
from dtool_operator.api.reasons import Reason

ROOT = Path(__file__).parents[2]
Schema = dict[str, Any]

CRDS = {
    document["spec"]["names"]["kind"]: document
    for document in (yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml")))
}
MODELS: dict[tuple[str, str], type[BaseModel]] = {
    (names.BUCKET_KIND, "spec"): DtoolBucketSpec,
    (names.BUCKET_KIND, "status"): DtoolBucketStatus,
    (names.DATASET_KIND, "spec"): DtoolDatasetSpec,
    (names.DATASET_KIND, "status"): DtoolDatasetStatus,
}
PARTS = pytest.mark.parametrize(("kind", "part"), MODELS, ids=lambda part: part)
PARSERS: dict[str, Callable[[Schema], DtoolBucket | DtoolDataset]] = {
    names.BUCKET_KIND: parse_bucket,
    names.DATASET_KIND: parse_dataset,
}


def flatten(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Yield every field as (path, schema): `a.b`, `a[]` for a list's items, `a{}` for a map's values."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}".lstrip("."), child
        yield from flatten(child, f"{path}.{name}".lstrip("."))
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            yield path + suffix, schema[key]
            yield from flatten(schema[key], path + suffix)


def crd_schema(kind: str, part: str) -> Schema:
    (version,) = CRDS[kind]["spec"]["versions"]
    schema: Schema = version["schema"]["openAPIV3Schema"]["properties"][part]
    return schema


def model_schema(model: type[BaseModel]) -> Schema:
    """The model's JSON schema in the CRD's terms: references resolved, `X | None` as X."""
    document = model.model_json_schema(by_alias=True)

    def resolve(schema: Schema) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[1]
            schema = document["$defs"][name] | {key: value for key, value in schema.items() if key != "$ref"}
        if "anyOf" in schema:
            (only,) = (option for option in schema["anyOf"] if option != {"type": "null"})
            rest = {key: value for key, value in schema.items() if key not in {"anyOf", "default"}}
            return resolve(only | rest)
        resolved = dict(schema)
        resolved["properties"] = {
            name: resolve(child) for name, child in schema.get("properties", {}).items()
        }
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                resolved[key] = resolve(schema[key])
        for value in schema.get("patternProperties", {}).values():  # a CRD cannot say how keys look
            resolved["additionalProperties"] = resolve(value)
        return resolved

    return resolve(document)


def facts(schema: Schema) -> Schema:
    """What must be equal on both sides. An interval is text in the CRD, a timedelta in the model."""
    if is_interval(schema):
        return {"type": "interval"}
    keys = ["type", "enum", "pattern", "required", "minimum", "maximum"]
    keys += ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]
    found = {key: schema[key] for key in keys if schema.get(key) not in (None, [])}
    if "required" in found:
        found["required"] = sorted(found["required"])
    return found


def is_interval(schema: Schema) -> bool:
    return schema.get("format") == "duration" or any(
        "duration(self)" in rule["rule"] for rule in schema.get("x-kubernetes-validations", [])
    )


def plain_default(schema: Schema) -> object:
    """The default as a value of Python; absent, None and empty are the same."""
    default = schema.get("default")
    if default and is_interval(schema):
        iso = schema.get("format") == "duration"
        return TypeAdapter(timedelta).validate_python(default) if iso else parse_duration(default)
    return None if default in ("", (), [], {}, None) else default


def body(kind: str, spec: object, name: str = "x") -> dict[str, Any]:
    metadata = {"name": name, "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"kind": kind, "metadata": metadata, "spec": spec}


@PARTS
def test_crd_and_model_have_the_same_fields(kind: str, part: str) -> None:
    in_crd = {path for path, _ in flatten(crd_schema(kind, part))}

    in_model = {path for path, _ in flatten(model_schema(MODELS[kind, part]))}

    assert in_model == in_crd


@PARTS
def test_every_field_has_the_same_type_bounds_and_choices_in_crd_and_model(kind: str, part: str) -> None:
    model = {"": (whole := model_schema(MODELS[kind, part])), **dict(flatten(whole))}
    # the CRD asks of every writer what metav1.Condition asks for; our own model has enums for it
    exceptions = {"conditions[]", "conditions[].type", "conditions[].reason", "conditions[].message"}

    differing = {
        path: (facts(schema), facts(model[path]))
        for path, schema in [("", crd_schema(kind, part)), *flatten(crd_schema(kind, part))]
        if path not in exceptions and facts(schema) != facts(model[path])
    }

    assert differing == {}


@PARTS
def test_every_field_has_the_same_default_in_crd_and_model(kind: str, part: str) -> None:
    if part == "status":
        assert not [path for path, schema in flatten(crd_schema(kind, part)) if "default" in schema]
        return
    model = dict(flatten(model_schema(MODELS[kind, part])))

    differing = {
        path: (plain_default(schema), plain_default(model[path]))
        for path, schema in flatten(crd_schema(kind, part))
        if schema.get("type") != "object" and plain_default(schema) != plain_default(model[path])
    }

    assert differing == {}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (names.BUCKET_KIND, {"bucket": "lab-data", "caBundle": {"configMapKeyRef": {"name": "ca"}}}),
        (names.DATASET_KIND, {"volume": {"claimName": "a"}, "source": {"volume": {"claimName": "b"}}}),
    ],
)
def test_an_object_means_the_same_before_and_after_the_api_server_filled_in_its_defaults(
    kind: str, spec: Schema
) -> None:
    def fill(schema: Schema, value: object) -> object:
        if not isinstance(value, dict):
            return value
        properties = schema.get("properties", {})
        given = {name: child["default"] for name, child in properties.items() if "default" in child} | value
        return {name: fill(properties[name], item) for name, item in given.items()}

    filled = fill(crd_schema(kind, "spec"), spec)

    assert filled != spec
    assert PARSERS[kind](body(kind, filled)).spec == PARSERS[kind](body(kind, spec)).spec


@PARTS
def test_every_field_of_a_crd_has_a_description_that_ends(kind: str, part: str) -> None:
    undescribed = [
        path
        for path, schema in flatten(crd_schema(kind, part))
        if not schema.get("description", "").endswith((".", ")"))
    ]

    assert undescribed == []


@PARTS
def test_every_field_of_a_crd_is_bounded(kind: str, part: str) -> None:
    def is_bounded(schema: Schema) -> bool:
        match schema.get("type"):
            case "string":
                return "maxLength" in schema or "enum" in schema or schema.get("format") == "date-time"
            case "integer":
                return "minimum" in schema and ("maximum" in schema or part == "status")
            case "array":
                return "maxItems" in schema and "x-kubernetes-list-type" in schema
            case "object":
                return "properties" in schema or "maxProperties" in schema
            case "boolean":
                return True
            case _:
                return bool(schema.get("x-kubernetes-preserve-unknown-fields"))

    unbounded = [path for path, schema in flatten(crd_schema(kind, part)) if not is_bounded(schema)]

    assert unbounded == []


@PARTS
def test_every_rule_of_a_crd_has_a_message(kind: str, part: str) -> None:
    schemas = [("", crd_schema(kind, part)), *flatten(crd_schema(kind, part))]
    rules = [(path, rule) for path, schema in schemas for rule in schema.get("x-kubernetes-validations", [])]

    assert [path for path, rule in rules if not rule.get("message")] == []


@pytest.mark.parametrize("kind", CRDS)
def test_names_are_those_of_the_crd(kind: str) -> None:
    spec = CRDS[kind]["spec"]
    plurals = {names.BUCKET_KIND: names.BUCKET_PLURAL, names.DATASET_KIND: names.DATASET_PLURAL}

    assert spec["group"] == names.GROUP
    assert [version["name"] for version in spec["versions"]] == [names.VERSION]
    assert spec["names"]["plural"] == plurals[kind]
    assert spec["names"]["categories"] == ["dtool"]


@pytest.mark.parametrize("kind", CRDS)
def test_conditions_are_merged_by_type_and_have_room_for_every_type(kind: str) -> None:
    fields = dict(flatten(crd_schema(kind, "status")))

    assert fields["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
    assert fields["conditions"]["maxItems"] >= len(ConditionType)
    for type_ in ConditionType:
        assert TypeAdapter(str).validate_python(type_.value).isalpha()


def test_every_reason_is_documented_and_fits_the_crd() -> None:
    documentation = (ROOT / "docs" / "api.md").read_text()

    assert [reason for reason in Reason if f"| `{reason}` |" not in documentation] == []
    assert [reason for reason in Reason if not reason.meaning.endswith(".")] == []
    assert [reason for reason in Reason if not re.fullmatch("[A-Z][A-Za-z0-9]{0,127}", reason)] == []


@pytest.mark.parametrize("path", sorted((ROOT / "crds/examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_means_something_to_the_operator(path: Path) -> None:
    objects = [item for item in yaml.safe_load_all(path.read_text()) if item["kind"] in PARSERS]

    assert objects
    for item in objects:
        PARSERS[item["kind"]](body(item["kind"], item["spec"]))


@pytest.mark.parametrize(
    "module",
    [access, bucket, bucket_status, conditions, dataset, dataset_status, source],
    ids=lambda m: m.__name__,
)
def test_every_field_of_a_model_has_a_docstring(module: ModuleType) -> None:
    classes = [node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.ClassDef)]
    models = [node for node in classes if not node.decorator_list]

    undocumented = [
        f"{model.name}.{ast.unparse(node.target)}"
        for model in models
        for node, following in zip(model.body, [*model.body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign)
        and not (isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant))
    ]

    assert models
    assert undocumented == []
