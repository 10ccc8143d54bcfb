"""When a frozen dataset is verified, and how; pure. On a schedule, spread by hash; on request (rule 21)."""

from datetime import datetime, timedelta
from typing import Final

from dtool_operator.api.choice import VerifyMethod
from dtool_operator.api.dataset import CONTENT_INTERVAL_MINIMUM, DtoolDataset
from dtool_operator.api.dataset_status import Verification
from dtool_operator.api.reasons import Reason
from dtool_operator.names import ANNOTATION_VERIFY_REQUESTED
from dtool_operator.planning.history import find_damage, is_look_requested
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.plan import hash_fraction, spread_interval, time_left
from dtool_s3.transfer.verify import VerifyMethod as LibraryMethod

#: Datasets that were verified at one moment are verified again over this share of the interval.
_SPREAD: Final = 0.2
#: A verification that is later than this share of the interval is overdue.
_GRACE: Final = 0.5
#: Damage that verifications find: only another one says that it is gone. Other damage every look sees.
_FOUND_BY_VERIFYING: Final = frozenset(
    {Reason.ITEM_MISSING, Reason.CONTENT_DIFFERS, Reason.WRITTEN_WHILE_FREEZING}
)


def find_request(dataset: DtoolDataset) -> str | None:
    """Return the verification that was asked for and not answered yet."""
    asked = dataset.meta.get_request(ANNOTATION_VERIFY_REQUESTED)
    return None if asked == dataset.status.last_handled_verify_at else asked


def choose_method(dataset: DtoolDataset) -> LibraryMethod:
    """Return the spec's method; damage that only reading found is looked for by reading until it is gone."""
    return LibraryMethod(VerifyMethod.CONTENT if _is_only_read(dataset) else dataset.spec.verify.method)


def find_due(seen: ObservedDataset) -> timedelta:
    """Return how long it is until the next verification; nothing is left where one was asked for."""
    dataset, verified = seen.dataset, seen.dataset.status.verified
    if find_request(dataset) is not None or verified is None:
        return timedelta(0)
    damage = find_damage(dataset)
    if damage is None:
        pause = dataset.spec.verify.interval * (1 + _SPREAD * hash_fraction(dataset.uid))
    elif damage.reason in _FOUND_BY_VERIFYING:
        pause = _pause_after_damage(seen, verified)
    else:
        return timedelta(0)  # it looks whole again
    return time_left(verified.time, pause, seen.now)


def _pause_after_damage(seen: ObservedDataset, verified: Verification) -> timedelta:
    """Return how long damage is left alone before it is looked for again; a request counts at once."""
    method = choose_method(seen.dataset)
    if method is LibraryMethod.CONTENT and verified.method is VerifyMethod.CONTENT:
        return CONTENT_INTERVAL_MINIMUM
    if is_look_requested(seen.dataset):
        return timedelta(0)
    return spread_interval(seen.policy.resync, key=seen.dataset.uid)


def is_overdue(dataset: DtoolDataset, now: datetime) -> bool:
    """Tell whether a verification should have ended long ago, whatever keeps it.

    On a volume nobody expects one without `spec.verify.method: Content`.
    """
    verified, verify = dataset.status.verified, dataset.spec.verify
    is_expected = dataset.spec.volume is None or verify.method is VerifyMethod.CONTENT
    if verified is None or not is_expected:
        return False
    return now - verified.time > verify.interval * (1 + _SPREAD + _GRACE)


def _is_only_read(dataset: DtoolDataset) -> bool:
    """Tell whether the damage that is reported was found by reading: a listing may not see it."""
    verified = dataset.status.verified
    if verified is None or find_damage(dataset) is None:
        return False
    return verified.method is VerifyMethod.CONTENT and verified.mismatch_count > 0
