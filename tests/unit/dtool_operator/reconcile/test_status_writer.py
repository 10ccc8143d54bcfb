"""What the only writer of statuses notices."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from dtool_operator.adapters.cluster import ObjectRef
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.work_status import InspectedSource, JobReference
from dtool_operator.errors import OperatorError
from dtool_operator.names import DATASET_KIND, DATASET_PLURAL
from dtool_operator.reconcile.status_writer import StatusWriter
from tests.support.datasets import UUID
from tests.support.fake_cluster import FakeCluster

JOB = JobReference(namespace="alice", name="dtool-upload-1", uid="1")
SOURCE = InspectedSource(uuid=UUID, name="raw", creator_username="olssont")


class OldCluster(FakeCluster):
    """Has CRDs of an earlier version, whose schemas drop what they do not know."""

    async def apply_status(
        self, ref: ObjectRef, status: Mapping[str, Any], *, resource_version: str | None = None
    ) -> Mapping[str, Any]:
        known = {key: value for key, value in status.items() if key not in ("job", "source")}
        return await super().apply_status(ref, known, resource_version=resource_version)


async def write(cluster: FakeCluster, new: DtoolDatasetStatus) -> object:
    cluster.create_namespace("alice")
    cluster.create(DATASET_PLURAL, "alice", "raw", spec={})
    uid = cluster.get(DATASET_PLURAL, "alice", "raw")["metadata"]["uid"]
    ref = ObjectRef(DATASET_PLURAL, DATASET_KIND, "alice", "raw", uid)
    writer = StatusWriter(cluster, lambda: datetime.now(UTC))
    return await writer.write(ref, DtoolDatasetStatus(), new, resource_version="1")


@pytest.mark.parametrize("field", [{"job": JOB}, {"source": SOURCE}], ids=["job", "source"])
async def test_a_crd_that_drops_what_jobs_are_found_again_by_is_an_error_and_no_hot_loop(
    field: dict[str, Any],
) -> None:
    new = DtoolDatasetStatus(observed_generation=1, **field)
    dropped = f"older than this operator, they drop status.{next(iter(field))}"

    assert await write(FakeCluster(operator_namespace="x"), new)
    with pytest.raises(OperatorError, match=dropped):
        await write(OldCluster(operator_namespace="x"), new)
