"""Who else is to be looked at because of what a look has found or done; owns those who wait for a place.

event -> look -> here -> queue. Decides only whom something concerns, never what is done about it.
"""

from collections.abc import Iterable

from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import DtoolDataset
from dtool_operator.api.dataset_status import DtoolDatasetStatus
from dtool_operator.api.reasons import Reason
from dtool_operator.names import BUCKET_PLURAL, DATASET_PLURAL
from dtool_operator.planning.conclusion import DatasetPlan
from dtool_operator.planning.history import find_damage, was_frozen
from dtool_operator.planning.inquiry import is_as_reported
from dtool_operator.planning.plan import CancelTransfer, EnsureOwner
from dtool_operator.planning.prefix_policy import derive_prefix
from dtool_operator.reconcile.bucket import BucketReconciler
from dtool_operator.reconcile.queue import Key, WorkQueue
from dtool_operator.reconcile.relations import lies_in, object_key
from dtool_operator.reconcile.waiting import WaitingRoom
from dtool_operator.reconcile.world import World

#: Damage that a listing shows.
_MISSED = frozenset({Reason.DATASET_MISSING, Reason.REGISTRATION_HIJACKED})


class Waking:
    """Adds keys to the queue."""

    def __init__(self, *, world: World, queue: WorkQueue, buckets: BucketReconciler, places: int) -> None:
        self._world, self._queue, self._buckets, self._places = world, queue, buckets, places
        self._waiting = WaitingRoom()

    def add(self, keys: Iterable[Key]) -> None:
        """Have keys looked at."""
        for key in keys:
            self._queue.add(key)

    def place_is_free(self) -> None:
        """Have as many who wait looked at as there are places in all, in turn of their namespaces.

        Of so many at least one is of a namespace that may have the last place.
        """
        self.add(self._waiting.call(self._places))

    def dataset_is_gone(self, key: Key) -> None:
        """Let it wait no more; what ran for it has ended."""
        self._waiting.discard(key)
        self.place_is_free()

    def dataset_was_looked_at(self, key: Key, dataset: DtoolDataset, plan: DatasetPlan) -> None:
        """Let it wait if it found no place; have its bucket looked at if that got something new."""
        if plan.is_waiting:
            self._waiting.add(key, is_urgent=dataset.meta.deletion_timestamp is not None)
        else:
            self._waiting.discard(key)
        if any(isinstance(action, CancelTransfer) for action in plan.actions):
            self.place_is_free()
        self._tell_bucket(dataset, plan)

    def bucket_was_listed(self, bucket: DtoolBucket) -> None:
        """Have the frozen datasets looked at that the listing shows otherwise than they were reported.

        So are those of which it shows again what was missed in it: they may be whole again.
        """
        for dataset in self._world.datasets():
            if not lies_in(dataset, bucket) or not was_frozen(dataset):
                continue
            listed = self._buckets.find_entry(bucket.uid, dataset.status.uuid)
            prefix = derive_prefix(bucket.spec, dataset.namespace)
            if listed is None:
                continue
            damage = find_damage(dataset)
            was_missed = damage is not None and damage.reason in _MISSED
            if is_as_reported(listed.entry, prefix) == was_missed:
                self._queue.add(object_key(DATASET_PLURAL, dataset.meta))

    def _tell_bucket(self, dataset: DtoolDataset, plan: DatasetPlan) -> None:
        """Tell a bucket of its first owner marker, and of a dataset that was created or frozen."""
        has_changed = plan.status is not None and _what_is_there(plan.status) != _what_is_there(
            dataset.status
        )
        marked = [action.owner for action in plan.actions if isinstance(action, EnsureOwner)]
        bucket = self._world.bucket_of(dataset) if has_changed or marked else None
        if bucket is None:
            return
        if has_changed:
            self._buckets.note_change(bucket.uid)
        for owner in marked:
            self._buckets.note_owner(bucket.uid, owner)
        self._queue.add(object_key(BUCKET_PLURAL, bucket.meta))


def _what_is_there(status: DtoolDatasetStatus) -> tuple[bool, bool]:
    """Tell whether there is a dataset, and whether it is frozen."""
    frozen = find_condition(status.conditions, ConditionType.FROZEN)
    return status.created_at is not None, frozen is not None and frozen.status is ConditionStatus.TRUE
