"""What people do with a volume and its Jobs in the lab of fault tests, and what must be there in the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from dtool_operator.names import JOB_RUNNER_ROLE
from dtool_operator.transfers.signing.client import EndpointClient
from dtool_s3.errors import DtoolS3Error
from tests.support.admin_api import Body
from tests.support.eventually import eventually
from tests.support.fault_lab import DONE, ITEMS, FaultLab
from tests.support.lab import ADMIN_NAMESPACE
from tests.support.play_kubelet import Worker

CLAIM = "scratch"
OPERATOR = f"--serviceaccount={ADMIN_NAMESPACE}:dtool-operator"


def consent(lab: FaultLab) -> None:
    """Let the operator run Jobs in alice's namespace, as its team does."""
    role = f"--clusterrole={JOB_RUNNER_ROLE}"
    place = ("--namespace", lab.alice)
    lab.control_plane.kubectl("create", "rolebinding", JOB_RUNNER_ROLE, role, OPERATOR, *place)


def withdraw_consent(lab: FaultLab) -> None:
    """Take that back."""
    lab.delete("rolebinding", JOB_RUNNER_ROLE)


def upload(lab: FaultLab, name: str = "raw", **spec: Any) -> None:
    """Put files on a volume of alice's, and ask for a dataset of them."""
    consent(lab)
    for relpath, body in ITEMS.items():
        file = lab.kubelet.volume(lab.alice, CLAIM) / relpath
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(body)
    lab.dataset(name, source={"volume": {"claimName": CLAIM}}, **spec)


def start_upload(lab: FaultLab, **spec: Any) -> dict[str, Any]:
    """Ask for a dataset of a volume, and hold its upload in the middle; return what is done."""
    lab.hold_copies()
    upload(lab, **spec)
    return eventually(lambda: check_held(lab), within=40)


def check_held(lab: FaultLab) -> dict[str, Any]:
    """Return what an upload has brought once the rest waits at the endpoint."""
    done = lab.data()
    assert len(done) == DONE, f"{len(done)} items are done; {lab.status('raw')}"
    assert len(lab.writes()) > DONE
    return done


def check_uploaded(lab: FaultLab, done: dict[str, Any]) -> None:
    """Every file is an item once, equal; what was done before was not written again; one dataset is there."""
    uuid = lab.get("dtooldataset", "raw")["metadata"]["uid"]
    root = f"u/{lab.alice}/{uuid}"
    manifest = json.loads(lab.read(lab.bucket, f"{root}/manifest.json"))
    brought = {
        item["relpath"]: lab.read(lab.bucket, f"{root}/data/{key}") for key, item in manifest["items"].items()
    }
    assert brought == ITEMS
    after = lab.data()
    assert len(after) == len(ITEMS)
    assert {key: after[key] for key in done} == done
    assert list(lab.keys(lab.bucket, "dtool-")) == [f"dtool-{uuid}"]
    assert json.loads(lab.read(lab.bucket, f"{root}/dtool"))["type"] == "dataset"


def uploaders(lab: FaultLab) -> list[Worker]:
    """Return the workers of uploads that have begun, in order."""
    return [one for one in lab.kubelet.workers.values() if one.job.startswith("dtool-upload-")]


def find_job(lab: FaultLab) -> Body | None:
    """Return the upload's Job as it is; None: there is none."""
    _, listed = lab.admin.ask("GET", _jobs(lab))
    found = [job for job in listed["items"] if job["metadata"]["name"].startswith("dtool-upload-")]
    return found[0] if found else None


def check_no_job(lab: FaultLab) -> None:
    """No upload's Job is there, and no worker of one runs."""
    assert find_job(lab) is None
    assert all(one.process.poll() is not None for one in uploaders(lab))


def delete_job(lab: FaultLab) -> Body:
    """Delete the upload's Job by hand; return it once it is gone."""
    job = find_job(lab)
    assert job is not None, "there is no Job"
    path = f"{_jobs(lab)}/{job['metadata']['name']}"
    lab.admin.ask("DELETE", path, {"propagationPolicy": "Background"})

    def is_gone() -> None:
        found = lab.admin.find(path)
        assert found is None or found["metadata"]["uid"] != job["metadata"]["uid"]

    eventually(is_gone, within=20)
    return job


def put_job(lab: FaultLab, like: Body, *keep: str) -> str:
    """Make a Job that runs at once and is named as another was; `keep` of its metadata. Return its uid."""
    metadata = {key: like["metadata"][key] for key in ("name", *keep)}
    template = {**like["spec"]["template"], "metadata": {}}
    spec = {"template": template, "backoffLimit": 0}
    status, made = lab.admin.ask("POST", _jobs(lab), {"metadata": metadata, "spec": spec})
    assert status == 201, made
    uid: str = made["metadata"]["uid"]
    return uid


def ask_to_sign(worker: Worker) -> str:
    """Ask the signing endpoint as a worker does; return the code of its refusal, or nothing."""
    assert worker.task.signing is not None

    async def ask() -> None:
        assert worker.task.signing is not None
        client = EndpointClient(worker.task.signing, patience_seconds=0)
        try:
            await client.greet()
        finally:
            await client.close()

    try:
        asyncio.run(ask())
    except DtoolS3Error as error:
        return str(getattr(error, "code", "")) or error.reason
    return ""


def _jobs(lab: FaultLab) -> str:
    return f"/apis/batch/v1/namespaces/{lab.alice}/jobs"
