"""The actions of a plan in words, for people; pure. What it has no words for is named as it is."""

from dtool_operator.planning.plan import (
    BucketAction,
    CreateProto,
    DatasetAction,
    EnsureOwner,
    ListDatasets,
    MarkObject,
    SelfTest,
    StartTransfer,
    SyncMetadata,
)
from dtool_operator.planning.task import Location, Task, TaskKind

_KINDS = {
    TaskKind.COPY: "copy the dataset",
    TaskKind.INGEST: "make a dataset of the objects",
    TaskKind.FREEZE: "freeze the proto dataset, once nobody has written to it for a while",
    TaskKind.VERIFY: "verify it",
    TaskKind.REMOVE: "remove the data",
}


def describe_action(action: DatasetAction | BucketAction) -> str:
    """Say what an action does, in one line."""
    match action:
        case MarkObject(has_finalizer, uuid):
            finalizer = "put the finalizer on" if has_finalizer else "take the finalizer off"
            return finalizer + ("" if uuid is None else f", label the object with uuid {uuid}")
        case EnsureOwner(owner, replaces):
            instead = "" if replaces is None else f", instead of {replaces}"
            return f"make {owner.prefix!r} the prefix of namespace {owner.namespace}{instead}, if it is not"
        case CreateProto(uuid, name, _, _):
            return f"create the empty proto dataset {name!r} ({uuid})"
        case SyncMetadata():
            return "bring README, tags and annotations to what the spec asks"
        case StartTransfer(task, source_bucket):
            return _describe_task(task, source_bucket)
        case SelfTest(_, prefix):
            where = "head and list only" if prefix is None else f"and write below {prefix!r}"
            return f"read the Secret, and try the bucket ({where})"
        case ListDatasets():
            return "list the bucket"
        case _:
            return _split_words(type(action).__name__)


def _describe_task(task: Task, source_bucket: str | None) -> str:
    words = [f"start a worker: {_KINDS.get(task.kind, str(task.kind))}"]
    if task.source is not None:
        words.append(f"from {_describe(task.source)}")
    if task.source_url is not None:
        words.append(f"from {task.source_url.partition('?')[0]}")
    if source_bucket is not None:
        words.append(f"(keys of DtoolBucket {source_bucket})")
    words.append(
        f"{'at' if task.source is None and task.source_url is None else 'to'} {_describe(task.target)}"
    )
    if task.kind is TaskKind.VERIFY:
        words.append(f"by {task.method}")
    if task.source is not None:
        words.append("by server-side copies" if task.server_side else "reading and writing every byte")
    return " ".join(words)


def _describe(location: Location | None) -> str:
    if location is None:
        return "the volume"
    return f"s3://{location.bucket}/{location.prefix}"


def _split_words(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip()
