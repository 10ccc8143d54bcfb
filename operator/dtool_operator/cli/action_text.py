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
    TaskKind.INSPECT: "look which dataset the source is, and how large",
    TaskKind.UPLOAD: "hash and upload what lies on the volume",
    TaskKind.PUBLISH: "prove what was uploaded, and freeze it",
    TaskKind.DOWNLOAD: "bring the dataset onto the volume, every byte hashed on the way",
    TaskKind.COPY_ITEMS: "copy a share of the items",
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
    job = task.job
    who = "a worker" if job is None else f"a Job in namespace {job.namespace}"
    words = [f"start {who}: {_KINDS.get(task.kind, str(task.kind))}"]
    if task.volume is not None:
        words.append(f"(volume {task.volume.claim}:{task.volume.path})")
    if task.source is not None:
        words.append(f"from {_describe(task.source)}")
    if task.source_url is not None:
        words.append(f"from {task.source_url.partition('?')[0]}")
    if source_bucket is not None:
        words.append(f"(keys of DtoolBucket {source_bucket})")
    if task.target is not None:
        is_moved = task.source is not None or task.source_url is not None or task.volume is not None
        words.append(f"{'to' if is_moved else 'at'} {_describe(task.target)}")
    if task.kind is TaskKind.VERIFY:
        words.append(f"by {task.method}")
    if task.kind in {TaskKind.COPY, TaskKind.INGEST} and task.source is not None:
        words.append("by server-side copies" if task.server_side else "reading and writing every byte")
    if job is not None:
        words.append(f"(its keys: {job.keys})")
    return " ".join(words)


def _describe(location: Location) -> str:
    return f"s3://{location.bucket}/{location.prefix}"


def _split_words(name: str) -> str:
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name)
    return words.strip()
