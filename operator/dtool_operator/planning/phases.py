"""What a worker is about, in the words of a status; pure."""

from dtool_operator.api.choice import DatasetState
from dtool_operator.api.reasons import Reason
from dtool_operator.planning.observed import Refusal
from dtool_operator.planning.standing import find_trouble
from dtool_operator.planning.task import TaskKind
from dtool_operator.planning.transfer import TransferRecord

_PHASES = {
    "Copying": (DatasetState.COPYING, Reason.COPYING),
    "Verifying": (DatasetState.VERIFYING, Reason.VERIFYING),
    "Freezing": (DatasetState.FREEZING, Reason.FREEZING),
}

#: What a worker of each kind is about before its first sign.
_KINDS = {
    TaskKind.COPY: (DatasetState.COPYING, Reason.COPYING, "A worker copies the dataset."),
    TaskKind.INGEST: (DatasetState.COPYING, Reason.COPYING, "A worker makes a dataset of the objects."),
    TaskKind.FREEZE: (
        DatasetState.FREEZING,
        Reason.FREEZING,
        "A worker freezes the dataset once nobody has written to it for a while.",
    ),
    TaskKind.INSPECT: (DatasetState.PENDING, Reason.PROGRESSING, "A worker looks what the source is."),
    TaskKind.UPLOAD: (DatasetState.COPYING, Reason.COPYING, "A Job brings what lies on the volume."),
    TaskKind.DOWNLOAD: (DatasetState.COPYING, Reason.COPYING, "A Job brings the dataset to the volume."),
    TaskKind.COPY_ITEMS: (DatasetState.COPYING, Reason.COPYING, "Pods of a Job bring the items."),
    TaskKind.PUBLISH: (
        DatasetState.FREEZING,
        Reason.FREEZING,
        "What was uploaded is proven item by item, and frozen once no permission to write is left.",
    ),
    TaskKind.VERIFY: (DatasetState.VERIFYING, Reason.VERIFYING, "Verifies what is there."),
}


def describe_work(record: TransferRecord | None, kind: TaskKind | None) -> tuple[DatasetState, Refusal]:
    """Say what goes on, and why the dataset is not Ready; a Job's trouble comes first.

    `kind` None: the operator itself is about to do something.
    """
    begun = (DatasetState.PENDING, Reason.PROGRESSING, "The operator prepares the dataset.")
    state, reason, words = begun if kind is None else _KINDS.get(kind, begun)
    if record is None:
        return state, Refusal(reason, words)
    if record.progress is not None:
        state, reason = _PHASES.get(record.progress.phase, (state, reason))
    return state, find_trouble(record) or Refusal(reason, words)
