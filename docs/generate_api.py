"""Writes docs/api.md from crds/ and the list of reasons; a test asserts that the page is up to date."""
# ruff: noqa: INP001, T201 (a script beside the pages it writes)

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from dtool_operator import names
from dtool_operator.api.reasons import Reason, is_stalled_reason

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

Schema = dict[str, Any]

INTRODUCTION = """\
<!-- Generated from crds/ by docs/generate_api.py (`make docs`); do not edit. -->
# API reference

Two kinds in the group `{group}`, version `{version}`. `kubectl explain dtooldataset.spec` shows the same
text; `crds/examples/` has one manifest for each feature.

The operator answers on the object itself: in `status`, in conditions whose reasons are listed
[below](#reasons), and in Events. A field that this version cannot serve yet is refused with the reason
`NotSupported`, never ignored.
"""

REASONS = """\
## Reasons

`Stalled` means: nothing outside the object can help, edit or re-create it. Everything else is tried again
with growing pauses, so buckets, Secrets and datasets may be applied in any order.

| Reason | Stalled | Meaning |
|---|---|---|
"""

ANNOTATIONS = f"""\
## Labels and annotations

| Name | On | Meaning |
|---|---|---|
| label `{names.LABEL_UUID}` | datasets | UUID of the dataset; finds all its places. Set by the operator. |
| label `{names.LABEL_IMPORTED}` | datasets | `true`: the operator made the object for a dataset it found. |
| annotation `{names.ANNOTATION_RECONCILE_REQUESTED}` | both | Any new value: look at the object now. |
| annotation `{names.ANNOTATION_VERIFY_REQUESTED}` | datasets | Any new value: verify the dataset now. |
| finalizer `{names.FINALIZER}` | datasets | While work is unfinished, or with `deletionPolicy: Delete`. |
"""


class Field(NamedTuple):
    """A field of a CRD: its path below spec or status, whether its parent requires it, its schema."""

    path: str
    required: bool
    schema: Schema


def list_fields(schema: Schema, path: str = "") -> Iterator[Field]:
    """Yield every field below a schema, parents first."""
    for name, child in schema.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield Field(below, name in schema.get("required", ()), child)
        match child.get("type"):
            case "array":
                yield from list_fields(child["items"], f"{below}[]")
            case "object":
                yield from list_fields(child, below)
            case _:
                pass


def describe_type(schema: Schema) -> str:
    """Name a type as a reader of YAML thinks of it."""
    match schema.get("type"):
        case "array":
            return f"list of {describe_type(schema['items'])}s".replace("ss", "s")
        case "object" if "additionalProperties" in schema:
            return f"map to {describe_type(schema['additionalProperties'])}"
        case "string" if "enum" in schema:
            return " \\| ".join(f"`{choice}`" for choice in schema["enum"])
        case "string" if schema.get("format") == "date-time":
            return "time"
        case None:
            return "any JSON"
        case other:
            return str(other)


def describe_bounds(schema: Schema) -> str:
    """List what the schema itself demands; rules are printed with the description."""
    bounds = []
    if "maxLength" in schema:
        shortest = f"{schema['minLength']} to " if schema.get("minLength") else "≤ "
        bounds.append(f"{shortest}{schema['maxLength']} characters")
    bounds += [f"≤ {schema[key]} entries" for key in ("maxItems", "maxProperties") if key in schema]
    bounds += [f"{sign} {schema[key]}" for key, sign in (("minimum", "≥"), ("maximum", "≤")) if key in schema]
    if "pattern" in schema:
        pattern = schema["pattern"].replace("|", "\\|")
        bounds.append(f"`{pattern}`")
    return ", ".join(bounds)


def describe_default(field: Field) -> str:
    """Say what an absent field means, or that it must be there."""
    if field.required:
        return "required"
    if "default" not in field.schema or field.schema["type"] == "object":
        return ""
    default = field.schema["default"]
    text = str(default).lower() if isinstance(default, bool) else str(default)
    return f"`{text}`" if text else "`''`"


def list_rules(schema: Schema) -> list[str]:
    """Return the messages of the rules of the schema and, for a list, of its entries."""
    rules = [
        f"`{rule['fieldPath'].removeprefix('.')}` {rule['message']}"
        if "fieldPath" in rule
        else rule["message"]
        for rule in schema.get("x-kubernetes-validations", [])
    ]
    return rules + (list_rules(schema["items"]) if "items" in schema else [])


def render_table(schema: Schema) -> str:
    """Render spec or status."""
    lines = ["| Field | Type | Default | Bounds | Description |", "|---|---|---|---|---|"]
    for field in list_fields(schema):
        bounds = [describe_bounds(field.schema)]
        if field.schema.get("type") == "array":
            bounds.append(describe_bounds(field.schema["items"]))
        text = " ".join(
            [field.schema["description"], *(f"*Rule: {rule}.*" for rule in list_rules(field.schema))]
        )
        cells = (
            f"`{field.path}`",
            describe_type(field.schema),
            describe_default(field),
            "; each ".join(bound for bound in bounds if bound),
            text.replace("|", "\\|").replace("<", "&lt;"),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def render_kind(crd: Schema) -> str:
    """Render one kind: names, rules of the whole, spec and status."""
    spec = crd["spec"]
    (version,) = spec["versions"]
    schema = version["schema"]["openAPIV3Schema"]
    parts = schema["properties"]
    short = ", ".join(f"`{name}`" for name in spec["names"]["shortNames"])
    rules = "\n".join(f"- {rule}" for rule in list_rules(schema) + list_rules(parts["spec"]))
    return f"""\
## {spec["names"]["kind"]}

{schema["description"]} Short name {short}.

### {spec["names"]["kind"]}.spec

{parts["spec"]["description"]}

{rules}

{render_table(parts["spec"])}

### {spec["names"]["kind"]}.status

{parts["status"]["description"]}

{render_table(parts["status"])}
"""


def render() -> str:
    """Return the whole page."""
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    reasons = "".join(
        f"| `{reason}` | {'yes' if is_stalled_reason(reason) else ''} | {reason.meaning} |\n"
        for reason in Reason
    )
    introduction = INTRODUCTION.format(group=names.GROUP, version=names.VERSION)
    return "\n".join([introduction, *(render_kind(crd) for crd in crds), ANNOTATIONS, REASONS + reasons])


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"wrote {PAGE.relative_to(ROOT)}")
