"""What RBAC and S3 identities hold on real servers, and what the operator's process does there."""

from __future__ import annotations

import json
import secrets
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from dtool_s3 import blocking
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from sandbox.errors import KubectlError
from tests.support.rights import wait_allowed

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore
    from tests.support.lab import Body, Lab


NOW = "2026-01-01T00:00:00Z"


def as_user(lab: Lab, user: str, *arguments: str, stdin: str | None = None) -> str:
    """Run kubectl as a user of alice's namespace."""
    return lab.control_plane.kubectl(*arguments, f"--namespace={lab.alice}", f"--as={user}", stdin=stdin)


@pytest.fixture
def editor(lab: Lab) -> str:
    """A user with the role edit in alice's namespace."""
    user = f"editor-{secrets.token_hex(3)}"
    lab.control_plane.kubectl(
        *("create", "rolebinding", user, "--clusterrole=edit", f"--user={user}", f"--namespace={lab.alice}")
    )
    wait_allowed(lab.control_plane, user, f"create dtooldatasets --namespace={lab.alice}")
    return user


def test_a_user_who_may_edit_forges_no_status(lab: Lab, editor: str) -> None:
    """Frozen is what the operator found: not by /status, not by an object that brings a status along."""
    uuid = "1c10766c-0000-4000-8000-00000000f00d"
    frozen = [
        {"type": "Frozen", "status": "True", "reason": "Frozen", "message": "", "lastTransitionTime": NOW}
    ]
    body: Body = {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolDataset",
        "metadata": {"name": "forged", "namespace": lab.alice},
        "spec": {"bucketRef": lab.ref(lab.bucket)},
        "status": {"state": "Frozen", "uuid": uuid, "conditions": frozen},
    }

    as_user(lab, editor, "create", "--filename=-", stdin=json.dumps(body))
    patch = f"--patch={json.dumps({'status': body['status']})}"
    with pytest.raises(KubectlError) as refused:
        as_user(lab, editor, "patch", "dtooldataset", "forged", "--subresource=status", "--type=merge", patch)

    assert "forbidden" in str(refused.value).lower()
    assert lab.wait_state("forged", "Proto")["uuid"] != uuid


def test_a_user_who_may_edit_makes_no_bucket_object_and_reads_no_secret_of_the_operator(
    lab: Lab, editor: str
) -> None:
    questions = ("create dtoolbuckets", "patch dtoolbuckets", "patch dtooldatasets --subresource=status")

    for question in questions:
        with pytest.raises(KubectlError):
            as_user(lab, editor, "auth", "can-i", *question.split())
    with pytest.raises(KubectlError):
        lab.control_plane.kubectl("get", "secrets", "--namespace=dtool-system", f"--as={editor}")


def test_dot_segments_are_refused_by_the_api_server_and_by_the_s3_server(lab: Lab, editor: str) -> None:
    objects = {"bucketRef": lab.ref(lab.bucket), "prefix": f"u/{lab.alice}/../bob/"}
    spec = {"bucketRef": lab.ref(lab.bucket), "source": {"objects": objects}}
    body = {
        "apiVersion": "dtool.dev/v1alpha1",
        "kind": "DtoolDataset",
        "metadata": {"name": "dots", "namespace": lab.alice},
        "spec": spec,
    }

    with pytest.raises(KubectlError) as refused:
        as_user(lab, editor, "create", "--filename=-", stdin=json.dumps(body))

    assert "'.' or '..'" in str(refused.value)


def test_a_namespace_cannot_copy_what_lies_under_anothers_prefix(lab: Lab) -> None:
    """The keys of the bucket may read it all; the rules of the bucket object do not let alice."""
    other = f"bob-{lab.suffix}"
    fixture = lab.write(lab.bucket, prefix=f"u/{other}/")
    target = f"archive-{lab.suffix}"
    lab.object_store.create_bucket(target)
    lab.bucket_object(target)
    lab.wait_ready("dtoolbucket", target, "dtool-system")

    stored = {"stored": {"bucketRef": lab.ref(lab.bucket), "uuid": fixture.uuid}}
    lab.dataset("loot", bucketRef=lab.ref(target), source=stored)

    lab.wait_reason("dtooldataset", "loot", "SourceNotAllowed")
    assert lab.keys(target, f"u/{lab.alice}/") == {}


def test_keys_of_the_classic_policy_hijack_a_registration_key_and_that_is_an_incident(
    lab: Lab, object_store: ObjectStore
) -> None:
    """People with S3 keys are outside the operator's protection: it notices, and says so."""
    fixture = lab.write(lab.instruments)
    lab.dataset("mine", source={"uri": lab.uri(fixture.uuid)})
    lab.wait_state("mine", "Frozen")
    lab.put(lab.bucket, f"dtool-{fixture.uuid}", b"u/mallory/")
    lab.request("dtooldataset", "mine")

    status = lab.wait_state("mine", "Damaged")

    assert "RegistrationHijacked" in json.dumps(status["conditions"])
    assert lab.read(lab.bucket, f"dtool-{fixture.uuid}") == b"u/mallory/"
    assert lab.keys(lab.bucket, f"u/{lab.alice}/{fixture.uuid}/data/")


def test_limited_keys_write_below_their_prefix_whatever_the_key_looks_like(
    object_store: ObjectStore, make_bucket: object
) -> None:
    """The policy of a prefix is S3's to hold: the server takes no way around it."""
    keys = object_store.identity("alice")
    credentials = Credentials(keys.access_key, Secret(keys.secret_key))
    if "lab-data" not in {one["Name"] for one in object_store.client().list_buckets()["Buckets"]}:
        object_store.create_bucket("lab-data")
    with closing(S3Store(Endpoint(object_store.endpoint), "lab-data", lambda: credentials)) as store:
        for key in ("u/bob/x", "u/alice/../bob/x", "u/alice", "../lab-data/u/bob/x"):
            with pytest.raises(Exception, match=r"AccessDenied|InvalidRequest|403|400"):
                blocking.run(store.put(key, b"x"))

    assert "u/bob/x" not in {
        one["Key"] for one in object_store.client().list_objects_v2(Bucket="lab-data").get("Contents", [])
    }


def test_keys_are_in_no_log_status_or_event(lab: Lab) -> None:
    """After a copy: the operator's log, and the datasets and Events of the namespace."""
    fixture = lab.write(lab.instruments)
    lab.dataset("mine", source={"uri": lab.uri(fixture.uuid)})
    lab.wait_state("mine", "Frozen")
    secret_key = lab.object_store.identity("admin").secret_key

    told = lab.operator.log() + json.dumps(lab.datasets())
    told += lab.control_plane.kubectl("get", "events", f"--namespace={lab.alice}", "--output=json")

    assert secret_key not in told
