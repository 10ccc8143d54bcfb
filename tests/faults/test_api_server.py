"""Whatever the API server does in the middle of a copy: the copy ends as it would have, and is done once."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.errors import KubectlError
from tests.support.api_proxy import FAILED, THROTTLED, ApiProxy, conflict_on_first_writes, one_in
from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.fault_lab import FaultLab
from tests.support.lab import ADMIN_NAMESPACE


def test_an_api_server_that_restarts_in_the_middle_of_a_copy(lab: FaultLab) -> None:
    pid = lab.operator.pid
    done = lab.start_copy()

    with stopped_api_server(lab):
        lab.let_go()
        eventually(lambda: _assert_frozen_in_s3(lab), within=30)
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    assert set(lab.copies().values()) == {1}
    assert (lab.operator.pid, lab.operator.is_alive()) == (pid, True)


def test_a_history_that_was_compacted_while_the_watch_was_cut(lab: FaultLab, api: ApiProxy) -> None:
    pid = lab.operator.pid
    lab.dataset("old", uuid="00000000-0000-4000-8000-000000000000")
    lab.wait_reason("dtooldataset", "old", "DatasetMissing")
    uid = lab.get("dtooldataset", "old")["metadata"]["uid"]
    lab.write(lab.instruments)

    api.refuses_watches = True
    api.cut_watches()
    lab.delete("dtooldataset", "old")
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.control_plane.compact_history()
    with stopped_api_server(lab):
        pass
    api.refuses_watches = False
    lab.wait_state("raw", "Frozen", within=60)

    assert api.expired > 0
    assert (lab.operator.pid, lab.operator.is_alive()) == (pid, True)
    eventually(lambda: _assert_missed(lab, uid), within=20)


def test_a_token_that_is_replaced_in_the_middle_of_a_copy(lab: FaultLab, api: ApiProxy) -> None:
    old = f"login-{lab.suffix}"
    lab.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": old, "namespace": ADMIN_NAMESPACE}})
    lab.operator.kill()
    lab.operator.log_in("--bound-object-kind=Secret", f"--bound-object-name={old}")
    first = lab.operator.kubeconfig.rename(lab.operator.kubeconfig.with_suffix(".old"))
    lab.operator.kubeconfig.write_bytes(first.read_bytes())
    lab.operator.start()
    pid = lab.operator.pid
    done = lab.start_copy()

    lab.operator.log_in()
    lab.delete("secret", old, ADMIN_NAMESPACE)
    eventually(lambda: _assert_refused(lab, first), within=30)
    api.cut_watches()
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    assert (lab.operator.pid, lab.operator.is_alive()) == (pid, True)


def test_throttling_and_failures_of_a_third_of_the_requests(lab: FaultLab, api: ApiProxy) -> None:
    lab.write(lab.instruments)
    lab.operator.kill()

    api.harm = one_in(3, THROTTLED, FAILED)
    lab.operator.start()
    lab.dataset("raw", source={"uri": lab.uri(UUID)})
    lab.wait_state("raw", "Frozen", within=60)
    lab.dataset("gone", uuid="00000000-0000-4000-8000-000000000000")
    lab.wait_reason("dtooldataset", "gone", "DatasetMissing", within=60)
    lab.delete("dtooldataset", "raw")

    assert api.harmed > 5
    assert set(lab.copies().values()) == {1}
    assert lab.operator.is_alive()


def test_a_conflict_at_the_first_write_to_everything(lab: FaultLab, api: ApiProxy) -> None:
    api.harm = conflict_on_first_writes()

    done = lab.start_copy()
    lab.let_go()
    lab.wait_state("raw", "Frozen", within=60)

    assert api.harmed > 2
    lab.assert_resumed(done)
    assert set(lab.copies().values()) == {1}


def test_an_api_server_that_is_silent_for_a_while(lab: FaultLab, api: ApiProxy) -> None:
    done = lab.start_copy()

    api.is_silent = True
    lab.let_go()
    eventually(lambda: _assert_frozen_in_s3(lab), within=30)
    lab.dataset("meanwhile", uuid="00000000-0000-4000-8000-000000000000")
    api.heal()
    lab.wait_state("raw", "Frozen", within=60)
    lab.wait_reason("dtooldataset", "meanwhile", "DatasetMissing", within=60)

    lab.assert_resumed(done)


def test_an_api_server_that_is_slow(lab: FaultLab, api: ApiProxy) -> None:
    api.delay_seconds = 0.4
    done = lab.start_copy()
    lab.let_go()

    lab.wait_state("raw", "Frozen", within=60)

    lab.assert_resumed(done)
    assert set(lab.copies().values()) == {1}


@contextmanager
def stopped_api_server(lab: FaultLab) -> Iterator[None]:
    """Stop the API server as long as the block lasts; it keeps its data."""
    lab.control_plane.stop_api_server()
    try:
        yield
    finally:
        lab.control_plane.start_api_server()


def _assert_frozen_in_s3(lab: FaultLab) -> None:
    key = f"u/{lab.alice}/{UUID}/dtool"
    metadata = lab.object_store.client().head_object(Bucket=lab.bucket, Key=key)["Metadata"]
    assert metadata["type"] == "dataset"


def _assert_refused(lab: FaultLab, kubeconfig: Path) -> None:
    said = ""
    try:
        lab.control_plane.kubectl("auth", "whoami", kubeconfig=kubeconfig)
    except KubectlError as error:
        said = str(error)
    assert "Unauthorized" in said or "logged in" in said, said or "the old token is still good"


def _assert_missed(lab: FaultLab, uid: str) -> None:
    assert uid in {line["uid"] for line in lab.logged("deletion_missed")}
