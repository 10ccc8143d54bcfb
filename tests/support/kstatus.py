"""What kstatus makes of an object, by its published rules, for objects that are of no built-in kind.

The rules are those of sigs.k8s.io/cli-utils/pkg/kstatus: README ("Conditions") and `Compute`. Flux and
`kubectl`-like tools wait by them. Knows nothing of our kinds.
"""

from enum import StrEnum
from typing import Any


class KStatus(StrEnum):
    """One word for how far an object is."""

    TERMINATING = "Terminating"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    CURRENT = "Current"


#: Conditions that decide wherever they are True; of several the first of the list that the object has.
_DECIDING = {"Reconciling": KStatus.IN_PROGRESS, "Stalled": KStatus.FAILED}
_BY_READY = {"True": KStatus.CURRENT, "False": KStatus.IN_PROGRESS, "Unknown": KStatus.IN_PROGRESS}


def compute_kstatus(body: dict[str, Any]) -> KStatus:
    """Return the status of an object, `body` as the API server shows it."""
    metadata, status = body["metadata"], body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return KStatus.TERMINATING
    observed = status.get("observedGeneration")
    if "generation" in metadata and observed is not None and observed != metadata["generation"]:
        return KStatus.IN_PROGRESS
    conditions = status.get("conditions", [])
    for condition in conditions:
        if condition["type"] in _DECIDING and condition["status"] == "True":
            return _DECIDING[condition["type"]]
    for condition in conditions:
        if condition["type"] == "Ready":
            return _BY_READY[condition["status"]]
    # an object that says nothing is taken for one that is as it shall be
    return KStatus.CURRENT
