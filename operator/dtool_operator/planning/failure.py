"""What is said when a dataset's plan could not be carried out; pure. The next look plans anew."""

from dataclasses import replace

from dtool_operator.planning.conclusion import DatasetPlan, conclude
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.metadata import MetadataPlan, build_unsynced
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.plan import Backoff, DatasetAction, EnsureOwner, RemoveJob, SyncMetadata
from dtool_operator.planning.removal import is_timed_out
from dtool_operator.planning.verdict import Kept, Proto, Refused, Verdict


def plan_failure(seen: ObservedDataset, refusal: Refusal, action: DatasetAction) -> DatasetPlan:
    """Say what went wrong when a plan was carried out; nothing more is done before the next look.

    It says nothing about the data of a frozen dataset, which stays Ready unless its metadata are concerned.
    """
    is_deleted = seen.dataset.meta.deletion_timestamp is not None
    is_kept = was_frozen(seen.dataset) and not is_deleted
    metadata = None
    if isinstance(action, SyncMetadata) or (is_kept and isinstance(action, EnsureOwner)):
        metadata = MetadataPlan(build_unsynced(refusal), seen.dataset.status.managed)
    verdict: Verdict = Refused(refusal)
    if is_kept:
        verdict = Kept()
    elif metadata is not None:
        verdict = _proto_verdict(seen)
    plan = conclude(seen, verdict, target=None, look_again=Backoff(), metadata=metadata, sees_to_job=False)
    if isinstance(action, RemoveJob) and is_deleted and is_timed_out(seen) and plan.status is not None:
        # a Job that cannot be ended does not keep its object for ever (rule 18)
        return replace(plan, status=plan.status.model_copy(update={"job": None}))
    return plan


def _proto_verdict(seen: ObservedDataset) -> Verdict:
    assert isinstance(seen.storage, StorageView)
    assert seen.storage.admin is not None, "README, tags and annotations are those of what is there"
    return Proto(seen.storage.admin)
