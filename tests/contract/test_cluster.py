"""What reconcilers rely on of a cluster: one suite over the fake and over a real API server."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_operator.adapters.cluster import (
    NAMESPACES,
    ConfigMapData,
    EventType,
    KubernetesCluster,
    SecretData,
)
from dtool_operator.adapters.connection import Connection
from dtool_operator.api.reasons import Reason
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL, FINALIZER, LABEL_UUID
from tests.support.eventually import eventually_async
from tests.support.installation import OPERATOR_NAMESPACE, install_operator
from tests.support.stage import RealStage, Stage, build_fake_stage, build_ref

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

SPEC: dict[str, Any] = {"bucketRef": {"name": "lab"}}
PENDING = {"state": "Pending", "observedGeneration": 1}
UNSEEN = {"observedGeneration": 0}
FAILED = {"state": "Failed"}


@pytest.fixture(scope="module")
def kubeconfig(control_plane: "ControlPlane") -> Path:
    return install_operator(control_plane)


def version(body: Any) -> str:
    return str(body["metadata"]["resourceVersion"])


class ClusterContract:
    """The suite; a subclass gives the fixture `stage`."""

    async def test_a_namespace_has_one_identity_while_it_exists(self, stage: Stage) -> None:
        uids = [await stage.cluster.read_namespace_uid(name) for name in ("kube-system", stage.namespace)]

        assert None not in uids
        assert len(set(uids)) == len(uids)
        assert set(uids) <= (await stage.cluster.list_metadata(NAMESPACES)).keys()
        assert uids[1] == await stage.cluster.read_namespace_uid(stage.namespace)
        assert await stage.cluster.read_namespace_uid("no-such-namespace") is None

    async def test_the_api_server_tells_which_of_our_kinds_it_knows(self, stage: Stage) -> None:
        assert {BUCKET_PLURAL, DATASET_PLURAL} <= await stage.cluster.list_served_plurals()

    async def test_a_new_object_has_what_the_operator_relies_on(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)

        assert body["metadata"]["generation"] == 1
        assert body["metadata"]["creationTimestamp"].endswith("Z")
        assert "finalizers" not in body["metadata"]
        assert body["spec"]["deletionPolicy"] == "Retain"
        assert body["status"] == UNSEEN

    async def test_only_a_change_of_the_spec_or_a_deletion_makes_a_generation(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)

        labelled = stage.set_label("raw", "team", "a")
        await stage.cluster.apply_status(build_ref(body), PENDING)
        suspended = stage.update_spec("raw", {"suspend": True})
        finalized = await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(suspended), finalizers=(FINALIZER,)
        )
        stage.delete("raw")

        deleted = stage.get("raw")
        assert deleted is not None
        bodies = [body, labelled, suspended, finalized, deleted]
        assert [one["metadata"]["generation"] for one in bodies] == [1, 1, 2, 2, 3]
        assert suspended["status"] == PENDING

    # Metadata

    async def test_a_metadata_patch_sets_finalizers_and_labels_and_keeps_the_rest(self, stage: Stage) -> None:
        """Rule 22."""
        stage.create("raw", SPEC)
        before = stage.set_label("raw", "team", "a")

        after = await stage.cluster.patch_metadata(
            build_ref(before),
            resource_version=version(before),
            finalizers=(FINALIZER,),
            labels={LABEL_UUID: "1"},
        )

        assert after["metadata"]["finalizers"] == [FINALIZER]
        assert after["metadata"]["labels"] == {"team": "a", LABEL_UUID: "1"}
        assert version(after) != version(before)
        stored = stage.get("raw")
        assert stored is not None
        assert version(stored) == version(after)
        assert stored["spec"] == before["spec"]

    async def test_a_label_can_be_the_first_one(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)

        after = await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(body), labels={LABEL_UUID: "1"}
        )

        assert after["metadata"]["labels"] == {LABEL_UUID: "1"}

    async def test_a_metadata_patch_that_changes_nothing_writes_nothing(self, stage: Stage) -> None:
        stage.create("raw", SPEC)
        body = stage.set_label("raw", "team", "a")  # the first write stores the default status, too

        after = await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(body), finalizers=()
        )

        assert version(after) == version(body)

    async def test_a_metadata_patch_of_a_changed_object_is_a_conflict(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        stage.set_label("raw", "team", "a")

        with pytest.raises(Conflict):
            await stage.cluster.patch_metadata(
                build_ref(body), resource_version=version(body), finalizers=(FINALIZER,)
            )

        stored = stage.get("raw")
        assert stored is not None
        assert "finalizers" not in stored["metadata"]

    async def test_a_metadata_patch_never_touches_an_object_that_took_the_name(self, stage: Stage) -> None:
        former = stage.create("raw", SPEC)
        stage.delete("raw")
        stage.create("raw", SPEC)

        with pytest.raises(Conflict):
            await stage.cluster.patch_metadata(
                build_ref(former), resource_version=version(former), labels={LABEL_UUID: "1"}
            )

        stored = stage.get("raw")
        assert stored is not None
        assert "labels" not in stored["metadata"]

    async def test_a_metadata_patch_of_a_deleted_object_says_that_it_is_gone(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        stage.delete("raw")

        with pytest.raises(Gone):
            await stage.cluster.patch_metadata(build_ref(body), resource_version=version(body), finalizers=())

    # Deletion

    async def test_a_deleted_object_stays_until_its_last_finalizer_goes(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        held = await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(body), finalizers=(FINALIZER,)
        )
        stage.delete("raw")
        deleted = stage.get("raw")
        assert deleted is not None
        assert deleted["metadata"]["deletionTimestamp"]
        assert version(deleted) != version(held)

        last = await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(deleted), finalizers=()
        )

        assert not last["metadata"].get("finalizers")
        assert stage.get("raw") is None
        assert body["metadata"]["uid"] not in await stage.cluster.list_metadata(DATASET_PLURAL)

    async def test_no_finalizer_is_added_to_a_deleted_object(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        await stage.cluster.patch_metadata(
            build_ref(body), resource_version=version(body), finalizers=("example.org/other",)
        )
        stage.delete("raw")
        deleted = stage.get("raw")

        with pytest.raises(ApiFailure) as refused:
            await stage.cluster.patch_metadata(
                build_ref(body),
                resource_version=version(deleted),
                finalizers=("example.org/other", FINALIZER),
            )

        assert refused.value.status == 422

    # Status

    async def test_a_status_replaces_all_that_the_operator_said_before(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        ref = build_ref(body)

        first = await stage.cluster.apply_status(ref, {**PENDING, "uri": "s3://lab-data/1"})
        second = await stage.cluster.apply_status(ref, FAILED)

        assert first["status"] == {**PENDING, "uri": "s3://lab-data/1"}
        assert second["status"] == FAILED
        stored = stage.get("raw")
        assert stored is not None
        assert (stored["status"], stored["spec"]) == (FAILED, body["spec"])
        assert version(stored) == version(second)

    async def test_the_same_status_again_writes_nothing(self, stage: Stage) -> None:
        ref = build_ref(stage.create("raw", SPEC))

        first = await stage.cluster.apply_status(ref, PENDING)
        second = await stage.cluster.apply_status(ref, PENDING)

        assert version(second) == version(first)

    @pytest.mark.parametrize("is_newest", [True, False])
    async def test_a_status_is_written_whatever_version_was_seen_last(
        self, stage: Stage, is_newest: bool
    ) -> None:
        body = stage.create("raw", SPEC)
        newest = stage.set_label("raw", "team", "a")

        after = await stage.cluster.apply_status(
            build_ref(body), PENDING, resource_version=version(newest if is_newest else body)
        )

        assert after["status"] == PENDING
        assert after["metadata"]["labels"] == {"team": "a"}

    @pytest.mark.parametrize("knows_version", [True, False])
    async def test_a_status_is_never_written_to_an_object_that_took_the_name(
        self, stage: Stage, knows_version: bool
    ) -> None:
        former = stage.create("raw", SPEC)
        stage.delete("raw")
        stage.create("raw", SPEC)

        with pytest.raises(Gone):
            await stage.cluster.apply_status(
                build_ref(former), FAILED, resource_version=version(former) if knows_version else None
            )

        stored = stage.get("raw")
        assert stored is not None
        assert stored["status"] == UNSEEN

    @pytest.mark.parametrize("knows_version", [True, False])
    async def test_a_status_of_a_deleted_object_says_that_it_is_gone(
        self, stage: Stage, knows_version: bool
    ) -> None:
        body = stage.create("raw", SPEC)
        stage.delete("raw")

        with pytest.raises(Gone):
            await stage.cluster.apply_status(
                build_ref(body), PENDING, resource_version=version(body) if knows_version else None
            )

    @pytest.mark.parametrize(
        "status", [{"state": "Nonsense"}, {"state": "Pending", "uri": None}, {"nonsense": 1}]
    )
    async def test_a_status_outside_the_schema_is_refused(
        self, stage: Stage, status: dict[str, object]
    ) -> None:
        ref = build_ref(stage.create("raw", SPEC))
        await stage.cluster.apply_status(ref, PENDING)

        with pytest.raises(ApiFailure):
            await stage.cluster.apply_status(ref, status)

        stored = stage.get("raw")
        assert stored is not None
        assert stored["status"] == PENDING

    # Secrets

    async def test_a_secret_of_a_namespace_that_did_not_consent_is_forbidden(self, stage: Stage) -> None:
        """Rule 5."""
        stage.put_secret("lab-s3", {"AWS_ACCESS_KEY_ID": "AK"})

        with pytest.raises(OperatorError) as refused:
            await stage.cluster.read_secret(stage.namespace, "lab-s3")

        assert refused.value.reason == Reason.SECRET_FORBIDDEN
        assert refused.value.message.endswith(
            "kubectl create rolebinding dtool-operator-secret-reader "
            "--clusterrole=dtool-operator-secret-reader "
            f"--serviceaccount=dtool-system:dtool-operator --namespace={stage.namespace}"
        )

    async def test_a_secret_is_read_after_consent_and_its_version_tells_a_change(self, stage: Stage) -> None:
        stage.put_secret("lab-s3", {"AWS_ACCESS_KEY_ID": "AK1"})
        stage.let_operator_read_secrets()

        async def read() -> SecretData:  # RBAC may take a moment
            try:
                return await stage.cluster.read_secret(stage.namespace, "lab-s3")
            except OperatorError as error:
                raise AssertionError(error.message) from error

        first = await eventually_async(read, within=10)
        again = await stage.cluster.read_secret(stage.namespace, "lab-s3")
        stage.put_secret("lab-s3", {"AWS_ACCESS_KEY_ID": "AK2"})
        changed = await stage.cluster.read_secret(stage.namespace, "lab-s3")

        assert (first.data, changed.data) == ({"AWS_ACCESS_KEY_ID": "AK1"}, {"AWS_ACCESS_KEY_ID": "AK2"})
        assert first.resource_version == again.resource_version != changed.resource_version
        assert "AK1" not in repr(first)

    async def test_a_secret_that_is_not_there_is_not_found(self, stage: Stage) -> None:
        with pytest.raises(OperatorError) as refused:
            await stage.cluster.read_secret(OPERATOR_NAMESPACE, "no-such-secret")

        assert refused.value.reason == Reason.SECRET_NOT_FOUND

    # ConfigMaps, for CA bundles

    async def test_a_config_map_of_a_namespace_that_did_not_consent_is_forbidden_rule_5(
        self, stage: Stage
    ) -> None:
        stage.put_config_map("ca", {"ca.crt": "PEM"})

        with pytest.raises(OperatorError) as refused:
            await stage.cluster.read_config_map(stage.namespace, "ca")

        assert refused.value.reason == Reason.SECRET_FORBIDDEN
        assert "ConfigMap ca" in refused.value.message
        assert refused.value.message.endswith(f"--namespace={stage.namespace}")

    async def test_a_config_map_is_read_after_consent_and_its_version_tells_a_change(
        self, stage: Stage
    ) -> None:
        stage.put_config_map("ca", {"ca.crt": "PEM 1"})
        stage.let_operator_read_secrets()

        async def read() -> ConfigMapData:  # RBAC may take a moment
            try:
                return await stage.cluster.read_config_map(stage.namespace, "ca")
            except OperatorError as error:
                raise AssertionError(error.message) from error

        first = await eventually_async(read, within=10)
        again = await stage.cluster.read_config_map(stage.namespace, "ca")
        stage.put_config_map("ca", {"ca.crt": "PEM 2"})
        changed = await stage.cluster.read_config_map(stage.namespace, "ca")

        assert (first.data, changed.data) == ({"ca.crt": "PEM 1"}, {"ca.crt": "PEM 2"})
        assert first.resource_version == again.resource_version != changed.resource_version

    async def test_a_config_map_that_is_not_there_makes_the_bundle_invalid(self, stage: Stage) -> None:
        with pytest.raises(OperatorError) as refused:
            await stage.cluster.read_config_map(OPERATOR_NAMESPACE, "no-such-config-map")

        assert refused.value.reason == Reason.CA_BUNDLE_INVALID

    # Objects of the operator's own (rule 9)

    async def test_a_dataset_that_the_operator_creates_is_like_a_users(self, stage: Stage) -> None:
        body = await stage.cluster.create_dataset(
            stage.namespace, "found", spec=SPEC, labels={LABEL_UUID: "1"}
        )

        assert body["metadata"]["labels"] == {LABEL_UUID: "1"}
        assert body["metadata"]["generation"] == 1
        assert body["spec"]["bucketRef"] == {"name": "lab"}
        assert body["spec"]["deletionPolicy"] == "Retain"
        stored = stage.get("found")
        assert stored is not None
        assert (stored["metadata"]["uid"], stored["spec"]) == (body["metadata"]["uid"], body["spec"])
        assert await stage.cluster.read_dataset(stage.namespace, "found") == body
        assert await stage.cluster.read_dataset(stage.namespace, "other") is None

    async def test_a_name_that_is_taken_is_a_conflict_and_what_has_it_stays(self, stage: Stage) -> None:
        before = stage.create("found", SPEC)

        with pytest.raises(Conflict):
            await stage.cluster.create_dataset(
                stage.namespace, "found", spec={"bucketRef": {"name": "other"}}, labels={}
            )

        assert stage.get("found") == before

    async def test_nothing_is_created_in_a_namespace_that_is_not_there(self, stage: Stage) -> None:
        with pytest.raises(Gone):
            await stage.cluster.create_dataset("no-such-namespace", "found", spec=SPEC, labels={})

    async def test_a_dataset_outside_the_schema_is_not_created(self, stage: Stage) -> None:
        with pytest.raises(ApiFailure) as refused:
            await stage.cluster.create_dataset(stage.namespace, "found", spec={"uuid": 1}, labels={})

        assert refused.value.status == 422

    async def test_a_deletion_takes_the_object_that_was_seen(self, stage: Stage) -> None:
        body = stage.create("found", SPEC)

        await stage.cluster.delete_object(build_ref(body), resource_version=version(body))

        assert stage.get("found") is None
        with pytest.raises(Gone):
            await stage.cluster.delete_object(build_ref(body), resource_version=version(body))

    async def test_an_object_that_somebody_changed_is_not_deleted(self, stage: Stage) -> None:
        body = stage.create("found", SPEC)
        stage.set_label("found", "team", "a")

        with pytest.raises(Conflict):
            await stage.cluster.delete_object(build_ref(body), resource_version=version(body))

        assert stage.get("found") is not None

    async def test_an_object_that_took_the_name_is_not_deleted(self, stage: Stage) -> None:
        former = stage.create("found", SPEC)
        stage.delete("found")
        stage.create("found", SPEC)

        with pytest.raises(Conflict):
            await stage.cluster.delete_object(build_ref(former), resource_version=version(former))

        assert stage.get("found") is not None

    # Lists, Events, namespaces

    async def test_a_list_of_metadata_has_every_object_and_its_newest_version(self, stage: Stage) -> None:
        first, second = stage.create("raw", SPEC), stage.create("clean", SPEC)
        first = stage.set_label("raw", "team", "a")

        listed = await stage.cluster.list_metadata(DATASET_PLURAL)

        mine = {body["metadata"]["uid"]: version(body) for body in (first, second)}
        assert mine.items() <= listed.items()

    async def test_a_list_of_nothing_is_empty(self, stage: Stage) -> None:
        stage.delete_all_buckets()

        assert await stage.cluster.list_metadata(BUCKET_PLURAL) == {}

    @pytest.mark.parametrize("plural", [NAMESPACES, BUCKET_PLURAL, DATASET_PLURAL])
    async def test_what_is_watched_may_be_watched(self, stage: Stage, plural: str) -> None:
        assert await stage.cluster.may_watch(plural)

    async def test_an_event_is_seen_with_its_object(self, stage: Stage) -> None:
        ref = build_ref(stage.create("raw", SPEC))

        await stage.cluster.create_event(ref, type=EventType.NORMAL, reason="Frozen", message="it is")
        await stage.cluster.create_event(ref, type=EventType.WARNING, reason="Damaged", message="no more")

        events = [("Normal", "Frozen", "it is"), ("Warning", "Damaged", "no more")]
        assert sorted(stage.list_events("raw")) == events

    async def test_a_namespace_that_is_being_deleted_takes_no_events_and_keeps_what_is_held(
        self, stage: Stage
    ) -> None:
        body = stage.create("raw", SPEC)
        ref = build_ref(body)
        await stage.cluster.patch_metadata(ref, resource_version=version(body), finalizers=(FINALIZER,))

        stage.delete_namespace()

        async def deleted_body() -> Any:
            deleted = stage.get("raw")
            assert deleted is not None
            assert "deletionTimestamp" in deleted["metadata"]
            return deleted

        deleted = await eventually_async(deleted_body, within=30)
        with pytest.raises(Gone):
            await stage.cluster.create_event(ref, type=EventType.NORMAL, reason="Frozen", message="it is")
        with pytest.raises(Gone):
            await stage.cluster.create_dataset(stage.namespace, "found", spec=SPEC, labels={})
        written = await stage.cluster.apply_status(ref, PENDING)
        await stage.cluster.patch_metadata(ref, resource_version=version(written), finalizers=())
        assert stage.get("raw") is None
        assert deleted["metadata"]["generation"] == 2

    async def test_a_namespace_that_does_not_exist_takes_no_events(self, stage: Stage) -> None:
        body = stage.create("raw", SPEC)
        body["metadata"]["namespace"] = "no-such-namespace"

        with pytest.raises(Gone):
            await stage.cluster.create_event(
                build_ref(body), type=EventType.NORMAL, reason="Frozen", message="it is"
            )


class TestFakeCluster(ClusterContract):
    """The fake."""

    @pytest.fixture
    def stage(self) -> Stage:
        return build_fake_stage()


class TestKubernetesCluster(ClusterContract):
    """The real one, under the operator's own RBAC rules."""

    @pytest.fixture
    async def stage(
        self, kubeconfig: Path, control_plane: "ControlPlane", make_namespace: Callable[..., str]
    ) -> AsyncIterator[Stage]:
        connection = Connection(environment={"KUBECONFIG": str(kubeconfig)})
        cluster = KubernetesCluster(connection, operator_namespace=OPERATOR_NAMESPACE)
        yield RealStage(cluster, make_namespace(), control_plane)
        await cluster.close()

    async def test_what_somebody_else_wrote_into_the_status_is_taken_over(self, stage: RealStage) -> None:
        body = stage.create("raw", SPEC)
        command = ("patch", DATASET_PLURAL, "raw", f"--namespace={stage.namespace}", "--subresource=status")
        stage.control_plane.kubectl(*command, "--type=merge", '--patch={"status": {"state": "Frozen"}}')

        after = await stage.cluster.apply_status(build_ref(body), PENDING)

        assert after["status"] == PENDING

    async def test_a_value_that_is_no_text_is_left_out_of_a_secret(self, stage: RealStage) -> None:
        command = ("create", "secret", "generic", "odd", f"--namespace={OPERATOR_NAMESPACE}")
        stage.control_plane.kubectl(*command, "--from-literal=AWS_ACCESS_KEY_ID=AK")
        patch = '{"data": {"binary": "/w=="}}'
        stage.control_plane.kubectl(
            "patch", "secret", "odd", f"--namespace={OPERATOR_NAMESPACE}", f"--patch={patch}"
        )

        secret = await stage.cluster.read_secret(OPERATOR_NAMESPACE, "odd")

        assert secret.data == {"AWS_ACCESS_KEY_ID": "AK"}
