"""The CRDs on a real API server: what it accepts, refuses, fills in, keeps immutable, and prints."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtool_operator import names
from dtool_operator.api.bucket import parse_bucket
from dtool_operator.api.bucket_status import DatasetCounts, DtoolBucketStatus, NamespaceUsage, Violation
from dtool_operator.api.choice import DatasetState, VerifyMethod
from dtool_operator.api.conditions import Condition, ConditionStatus, ConditionType
from dtool_operator.api.dataset import parse_dataset
from dtool_operator.api.dataset_status import (
    DtoolDatasetStatus,
    Managed,
    Mismatch,
    Progress,
    Verification,
)
from dtool_operator.api.parsing import parse_metadata
from dtool_operator.api.reasons import Reason
from sandbox.controlplane import ControlPlane
from sandbox.errors import KubectlError

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "crds/examples").glob("*.yaml"))
INVALID = yaml.safe_load((ROOT / "tests/data/api/invalid.yaml").read_text())
Body = dict[str, Any]

CHANGES = yaml.safe_load((ROOT / "tests/data/api/immutable.yaml").read_text())
MINIMAL: dict[str, Body] = {
    names.BUCKET_KIND: {"bucket": "lab-data"},
    names.DATASET_KIND: {"bucketRef": {"name": "lab"}},
}
MOMENT = "2026-11-22T10:00:00Z"


class Namespace:
    """A namespace of the API server, and what a user does in it with kubectl."""

    def __init__(self, control_plane: ControlPlane, name: str) -> None:
        self.control_plane = control_plane
        self.name = name

    def send(self, *arguments: str, document: object) -> str:
        """Run `kubectl ARGUMENTS -f -` on a document; raise KubectlError with what the API server says."""
        return self.control_plane.kubectl(
            *arguments, f"--namespace={self.name}", "--filename=-", stdin=json.dumps(document)
        )

    def read(self, kind: str, name: str) -> Body:
        """Return an object as the API server has it."""
        text = self.control_plane.kubectl("get", kind, name, f"--namespace={self.name}", "--output=json")
        body: Body = json.loads(text)
        return body


@pytest.fixture(scope="module")
def namespace(control_plane: ControlPlane) -> Iterator[Namespace]:
    control_plane.kubectl("apply", "--filename", str(ROOT / "crds"))
    for plural in (names.BUCKET_PLURAL, names.DATASET_PLURAL):
        control_plane.kubectl("wait", "--for=condition=Established", f"crd/{plural}.{names.GROUP}")
    name = f"crds-{uuid.uuid4().hex[:8]}"
    control_plane.kubectl("create", "namespace", name)

    yield Namespace(control_plane, name)

    control_plane.kubectl("delete", "namespace", name, "--wait=false")


def describe(kind: str, spec: object, name: str = "x") -> Body:
    return {"apiVersion": names.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}


def fresh_name() -> str:
    return f"x-{uuid.uuid4().hex[:8]}"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_and_shown(namespace: Namespace, path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        document["metadata"]["namespace"] = namespace.name
    together = {"apiVersion": "v1", "kind": "List", "items": documents}

    namespace.send("apply", "--server-side", "--dry-run=server", document=together)
    namespace.send("apply", "--server-side", document=together)

    for document in documents:
        assert namespace.read(document["kind"], document["metadata"]["name"])


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["title"])
def test_an_invalid_spec_is_refused_with_a_message_that_helps(namespace: Namespace, case: Body) -> None:
    """Rules 3 and 23."""
    document = describe(case["kind"], case["spec"], case.get("name", "x"))

    with pytest.raises(KubectlError) as caught:
        namespace.send("create", "--dry-run=server", document=document)

    assert case["message"] in caught.value.stderr


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case["title"])
def test_a_change_is_refused_where_the_contract_says_immutable(namespace: Namespace, case: Body) -> None:
    """Rule 23."""
    name = fresh_name()
    namespace.send("create", document=describe(case["kind"], case["before"], name))
    after = describe(case["kind"], case["after"], name)

    if "message" not in case:
        namespace.send("replace", document=after)
        return
    with pytest.raises(KubectlError) as caught:
        namespace.send("replace", document=after)

    assert case["message"] in caught.value.stderr


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_field_that_no_rule_knows_is_refused_by_name(namespace: Namespace, kind: str) -> None:
    with pytest.raises(KubectlError, match=r'unknown field "spec\.sourceUri"'):
        namespace.send("create", document=describe(kind, {**MINIMAL[kind], "sourceUri": "s3://b/u"}))


def test_the_api_server_fills_in_the_defaults_that_the_operator_assumes(namespace: Namespace) -> None:
    sparse = {
        names.BUCKET_KIND: {"bucket": "lab-data", "caBundle": {"configMapKeyRef": {"name": "ca"}}},
        names.DATASET_KIND: {"volume": {"claimName": "a"}, "source": {"volume": {"claimName": "b"}}},
    }

    for kind, parse in ((names.BUCKET_KIND, parse_bucket), (names.DATASET_KIND, parse_dataset)):
        name = fresh_name()
        namespace.send("create", document=describe(kind, sparse[kind], name))
        stored = namespace.read(kind, name)

        assert stored["spec"] != sparse[kind]
        assert parse(stored).spec == parse({**stored, "spec": sparse[kind]}).spec
        assert parse(stored).meta == parse_metadata(stored)


def conditions() -> tuple[Condition, ...]:
    return tuple(
        Condition.model_validate(
            {
                "type": type_,
                "status": ConditionStatus.UNKNOWN,
                "reason": max(Reason, key=len),
                "message": "m" * 5000,
                "observed_generation": 1,
                "last_transition_time": MOMENT,
            }
        )
        for type_ in ConditionType
    )


FULL_STATUS = {
    names.BUCKET_KIND: DtoolBucketStatus.model_validate(
        {
            "observed_generation": 1,
            "conditions": conditions(),
            "datasets": DatasetCounts(total=1, dangling=1),
            "size_bytes": 2**60,
            "size": "1Ei",
            "namespaces": [NamespaceUsage(namespace=f"n{i}", prefix="p" * 5000) for i in range(100)],
            "namespaces_omitted": 1,
            "violations": [Violation(uuid="u" * 500, prefix="", reason=Reason.OUTSIDE_ANY_PREFIX)] * 20,
            "violations_count": 21,
            "last_handled_reconcile_at": "now\n" * 500,
        }
    ),
    names.DATASET_KIND: DtoolDatasetStatus.model_validate(
        {
            "observed_generation": 1,
            "state": DatasetState.DAMAGED,
            "conditions": conditions(),
            "uuid": "1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01",
            "uri": "s3://lab-data/1c10766c-4a0c-4a6e-9a52-1f3c2f1f9a01",
            "name": "n" * 500,
            "creator_username": "who\x00ever",
            "created_at": MOMENT,
            "frozen_at": MOMENT,
            "items": 1,
            "size_bytes": 0,
            "size": "0B",
            "progress": Progress(items=1, percent="51%", bytes_per_second=1),
            "verified": Verification.model_validate(
                {
                    "time": MOMENT,
                    "method": VerifyMethod.CONTENT,
                    "mismatches": [Mismatch(relpath="🧬" * 5000, expected="e" * 500, found="")] * 20,
                }
            ),
            "managed": Managed(tags=("a",), annotations=("b",)),
            "last_handled_reconcile_at": "now",
            "last_handled_verify_at": "now",
        }
    ),
}


@pytest.mark.parametrize("kind", FULL_STATUS)
def test_the_fullest_status_that_the_operator_can_write_is_accepted_and_reads_back(
    namespace: Namespace, kind: str
) -> None:
    name = fresh_name()
    namespace.send("create", document=describe(kind, MINIMAL[kind], name))
    status = FULL_STATUS[kind]
    body = {**describe(kind, None, name), "status": status.dump()}
    del body["spec"]

    namespace.send(
        "apply",
        "--server-side",
        "--subresource=status",
        f"--field-manager={names.FIELD_MANAGER}",
        document=body,
    )

    parse = parse_bucket if kind == names.BUCKET_KIND else parse_dataset
    assert parse(namespace.read(kind, name)).status == status


@pytest.mark.parametrize("kind", MINIMAL)
def test_a_status_is_written_only_through_its_own_door(namespace: Namespace, kind: str) -> None:
    document = describe(kind, MINIMAL[kind], fresh_name()) | {"status": {"observedGeneration": 7}}

    namespace.send("create", document=document)

    assert namespace.read(kind, document["metadata"]["name"])["status"] == {"observedGeneration": 0}


@pytest.mark.parametrize(
    ("resource", "plain", "wide"),
    [
        (
            "dbk",
            ["NAME", "BUCKET", "READY", "DATASETS", "SIZE", "VIOLATIONS", "AGE"],
            ["ENDPOINT", "MESSAGE"],
        ),
        (
            "dds",
            ["NAME", "STATE", "ITEMS", "SIZE", "PROGRESS", "VERIFIED", "AGE"],
            ["UUID", "BUCKET", "URI", "MESSAGE"],
        ),
    ],
)
def test_kubectl_get_prints_the_columns_of_the_contract(
    namespace: Namespace, resource: str, plain: list[str], wide: list[str]
) -> None:
    kind = {"dbk": names.BUCKET_KIND, "dds": names.DATASET_KIND}[resource]
    namespace.send("create", document=describe(kind, MINIMAL[kind], fresh_name()))

    def columns(*arguments: str) -> list[str]:
        text = namespace.control_plane.kubectl("get", resource, f"--namespace={namespace.name}", *arguments)
        return text.splitlines()[0].split()

    assert columns() == plain
    assert columns("--output=wide") == plain + wide
