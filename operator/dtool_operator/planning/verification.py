"""When a frozen dataset is verified, and how; pure. On a schedule, spread by hash; on request (rule 21)."""

from datetime import timedelta
from typing import Final

from dtool_operator.api.choice import VerifyMethod
from dtool_operator.api.conditions import ConditionStatus, ConditionType, find_condition
from dtool_operator.api.dataset import CONTENT_INTERVAL_MINIMUM, DtoolDataset
from dtool_operator.names import ANNOTATION_VERIFY_REQUESTED
from dtool_operator.planning.history import find_damage
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.plan import hash_fraction, time_left
from dtool_s3.transfer.verify import VerifyMethod as LibraryMethod

#: Datasets that were verified at one moment are verified again over this share of the interval.
_SPREAD: Final = 0.2
#: A verification that is later than this share of the interval is overdue.
_GRACE: Final = 0.5


def find_request(dataset: DtoolDataset) -> str | None:
    """Return the verification that was asked for and not answered yet."""
    asked = dataset.meta.get_request(ANNOTATION_VERIFY_REQUESTED)
    return None if asked == dataset.status.last_handled_verify_at else asked


def choose_method(dataset: DtoolDataset) -> LibraryMethod:
    """Return the spec's method; damage that only reading found is looked for by reading until it is gone."""
    found_by_reading = _is_damage_of(dataset, VerifyMethod.CONTENT)
    return LibraryMethod(VerifyMethod.CONTENT if found_by_reading else dataset.spec.verify.method)


def find_due(seen: ObservedDataset) -> timedelta:
    """Return how long it is until the next verification; nothing is left where one was asked for."""
    dataset, verified = seen.dataset, seen.dataset.status.verified
    if find_request(dataset) is not None or verified is None:
        return timedelta(0)
    if _is_damage_of(dataset, VerifyMethod.CONTENT):
        return time_left(verified.time, CONTENT_INTERVAL_MINIMUM, seen.now)
    if find_damage(dataset) is not None:
        return timedelta(0)
    interval = dataset.spec.verify.interval * (1 + _SPREAD * hash_fraction(dataset.uid))
    return time_left(verified.time, interval, seen.now)


def is_overdue(seen: ObservedDataset) -> bool:
    """Tell whether a verification should have ended long ago."""
    verified = seen.dataset.status.verified
    if verified is None:
        return False
    return seen.now - verified.time > seen.dataset.spec.verify.interval * (1 + _SPREAD + _GRACE)


def _is_damage_of(dataset: DtoolDataset, method: VerifyMethod) -> bool:
    """Tell whether the damage that is reported was found by a verification of this kind."""
    condition = find_condition(dataset.status.conditions, ConditionType.VERIFIED)
    if condition is None or condition.status is not ConditionStatus.FALSE:
        return False
    verified = dataset.status.verified
    return verified is not None and verified.method is method and verified.mismatch_count > 0
