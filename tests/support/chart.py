"""Renders the chart with helm, as objects; owns where it is, and nothing of what is expected of it."""

import functools
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sandbox.helm import run_helm

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "dtool-operator"
RELEASE = "dtool-operator"
NAMESPACE = "dtool-system"

Object = dict[str, Any]


def render_text(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> str:
    """Render everything; raises HelmError, which says what was refused."""
    return _render(json.dumps(values or {}), release, namespace)


def render(
    values: Mapping[str, Any] | None = None, *, release: str = RELEASE, namespace: str = NAMESPACE
) -> list[Object]:
    """Render the objects of the chart, the CRDs among them."""
    documents = yaml.safe_load_all(render_text(values, release=release, namespace=namespace))
    return [one for one in documents if one]


def find(objects: list[Object], kind: str, name: str | None = None) -> Object:
    """Find the one object of a kind, or of a kind and a name."""
    (found,) = (
        one for one in objects if one["kind"] == kind and (name is None or one["metadata"]["name"] == name)
    )
    return found


def pod_of(objects: list[Object]) -> Object:
    """Return the Pod of the Deployment, as a Pod: metadata and spec."""
    template: Object = find(objects, "Deployment")["spec"]["template"]
    return template


def container_of(objects: list[Object]) -> Object:
    """Return the operator's container."""
    (container,) = pod_of(objects)["spec"]["containers"]
    return dict(container)


def variables_of(objects: list[Object]) -> dict[str, Any]:
    """Return the variables of the operator's container: texts, or where they are from."""
    listed = container_of(objects)["env"]
    variables = {one["name"]: one.get("value", one.get("valueFrom")) for one in listed}
    assert len(variables) == len(listed), "a variable is there twice"
    return variables


@functools.cache
def _render(values: str, release: str, namespace: str) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(values)
        file.flush()
        return run_helm("template", release, str(CHART), f"--namespace={namespace}", f"--values={file.name}")
