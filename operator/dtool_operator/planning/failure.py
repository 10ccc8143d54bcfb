"""What is said when a dataset's plan could not be carried out; pure. The next look plans anew."""

from dtool_operator.planning.conclusion import DatasetPlan, conclude
from dtool_operator.planning.history import was_frozen
from dtool_operator.planning.metadata import MetadataPlan, build_unsynced
from dtool_operator.planning.observed import ObservedDataset, Refusal, StorageView
from dtool_operator.planning.plan import Backoff, DatasetAction, EnsureOwner, SyncMetadata
from dtool_operator.planning.verdict import Kept, Proto, Refused, Verdict


def plan_failure(seen: ObservedDataset, refusal: Refusal, action: DatasetAction) -> DatasetPlan:
    """Say what went wrong when a plan was carried out; nothing more is done before the next look.

    It says nothing about the data of a frozen dataset, which stays Ready unless its metadata are concerned.
    """
    is_kept = was_frozen(seen.dataset) and seen.dataset.meta.deletion_timestamp is None
    metadata = None
    if isinstance(action, SyncMetadata) or (is_kept and isinstance(action, EnsureOwner)):
        metadata = MetadataPlan(build_unsynced(refusal), seen.dataset.status.managed)
    verdict: Verdict = Refused(refusal)
    if is_kept:
        verdict = Kept()
    elif metadata is not None:
        verdict = _proto_verdict(seen)
    return conclude(seen, verdict, target=None, look_again=Backoff(), metadata=metadata)


def _proto_verdict(seen: ObservedDataset) -> Verdict:
    assert isinstance(seen.storage, StorageView)
    assert seen.storage.admin is not None, "README, tags and annotations are those of what is there"
    return Proto(seen.storage.admin)
