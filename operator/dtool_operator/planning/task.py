"""The task document: what a worker shall do, and the lines it answers with; plain JSON, no secrets.

The same document serves a child process and a Kubernetes Job. Keys are never in it: a location names a
credentials file that the worker reads, and reads again when the store refuses it.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dtool_operator.api.choice import Layout
from dtool_s3.settings import Addressing, ConditionalWrites, EncryptionMode
from dtool_s3.transfer.verify import VerifyMethod


class TaskModel(BaseModel):
    """Frozen; unknown fields are an error: writer and reader are one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskKind(StrEnum):
    """What a worker can do."""

    COPY = "copy"
    """A frozen dataset from `source` or `source_url` to `target`; a derived one where `new` is given."""
    INGEST = "ingest"
    """The plain objects under the prefix of `source` become the items of a new dataset."""
    FREEZE = "freeze"
    """A proto dataset that others filled, once nobody has written to it for a while."""
    VERIFY = "verify"
    """A frozen dataset against its own manifest."""
    REMOVE = "remove"
    """Everything of the dataset at `target`, the registration key last."""
    INSPECT = "inspect"
    """Which dataset a source is, and how large; nothing is written."""
    UPLOAD = "upload"
    """What lies on `volume` into a proto dataset at `target`, with a manifest to be proven."""
    PUBLISH = "publish"
    """What an upload brought, proven item by item, becomes a frozen dataset."""
    DOWNLOAD = "download"
    """A frozen dataset from `source` into a directory on `volume`, whole or not at all."""
    COPY_ITEMS = "copyItems"
    """A share of the items of a copy; the copy itself follows, and finds them in place."""


#: Work that leaves no dataset of which there were facts.
KINDS_WITHOUT_FACTS: Final = frozenset({TaskKind.REMOVE, TaskKind.UPLOAD, TaskKind.COPY_ITEMS})


class Encryption(TaskModel):
    """Server-side encryption of what is written."""

    mode: EncryptionMode
    kms_key_id: str | None = None


class Location(TaskModel):
    """One bucket as one identity sees it, and the dataset's prefix there."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    addressing: Addressing = Addressing.AUTO
    conditional_writes: ConditionalWrites = ConditionalWrites.REQUIRED
    encryption: Encryption | None = None
    #: Path of a PEM file, filled in by the executor; None: the public certificates.
    ca_bundle_file: str | None = None
    #: Path of a JSON file with the keys, filled in by the executor; None: the ambient chain.
    credentials_file: str | None = None


class NewDataset(TaskModel):
    """What a dataset gets that does not keep the identity of its source; its uuid is the task's."""

    name: str
    creator_username: str
    #: uuid of the dataset that is derived from; None: there was none (plain objects).
    source_uuid: str | None = None
    #: README.yml of a dataset made of plain objects.
    readme: str = ""


class VolumePlace(TaskModel):
    """A directory on a PersistentVolumeClaim of the dataset's namespace.

    `layout`: of what is there, or shall be: plain files, or a dataset as dtool writes it. `name`: of a
    dataset that was brought there, in a directory of this name below `path`. `directory`: where the worker
    finds the volume, filled in by the executor.
    """

    claim: str
    path: str = ""
    name: str | None = None
    layout: Layout = Layout.DATASET
    directory: str | None = None


class KeysFrom(StrEnum):
    """How a Job gets at S3."""

    OPERATOR = "operator"
    """A Secret that the operator makes for it, in the operator's own namespace."""
    BUCKET = "bucket"
    """The bucket object's own Secret, which lies in the namespace of the Job."""
    NONE = "none"
    """It needs none: it works on its volume alone."""
    SIGNING = "signing"
    """No keys: presigned URLs of exactly this task, from the operator's signing endpoint."""


class Toleration(TaskModel):
    """As Kubernetes has it."""

    key: str | None = None
    operator: str | None = None
    value: str | None = None
    effect: str | None = None
    toleration_seconds: int | None = None


class PodChoices(TaskModel):
    """What a bucket object says of the Pods that work for its datasets; settings fill the rest."""

    node_selector: tuple[tuple[str, str], ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    priority_class_name: str | None = None
    requests: tuple[tuple[str, str], ...] = ()
    limits: tuple[tuple[str, str], ...] = ()


class JobPlace(TaskModel):
    """That a task runs as a Kubernetes Job, and how.

    `secret`: name of the bucket object's Secret, for `KeysFrom.BUCKET`. `shards`: completions of an Indexed
    Job. `owner`: name of the DtoolDataset that the Job goes with, where it is in the Job's namespace.
    """

    namespace: str
    keys: KeysFrom
    secret: str | None = None
    shards: Annotated[int, Field(ge=1, le=10_000)] = 1
    owner: str | None = None
    pod: PodChoices = PodChoices()


class SigningPlace(TaskModel):
    """The operator's signing endpoint, as a worker reaches it; filled in by the executor."""

    url: str
    ca_pem: str
    token_file: str


class Task(TaskModel):
    """One piece of work for one DtoolDataset (`key` is its uid).

    `fingerprint` changes whenever the work would be another: kind, dataset, places.
    """

    kind: TaskKind
    key: str
    namespace: str
    fingerprint: str
    uuid: str
    #: None: the work writes to no bucket.
    target: Location | None = None
    source: Location | None = None
    #: Instead of `source`: a dataset that dtool published at this http(s) URL.
    source_url: str | None = None
    new: NewDataset | None = None
    #: SHA-256 of the only manifest that is accepted of the source.
    manifest_sha256: str | None = None
    #: Of a publication: what a dataset that is frozen already may have instead; see SourceFacts.
    content_sha256: str | None = None
    #: A larger source is refused (QuotaExceeded) before anything is written.
    max_size_bytes: Annotated[int, Field(ge=0)] | None = None
    server_side: bool = False
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 32
    method: VerifyMethod = VerifyMethod.LISTING
    #: The value of dtool.dev/verifyRequestedAt that a verification answers.
    request: str | None = None
    #: How long nobody may have written to a proto dataset before it is frozen; of a publication, how long
    #: after its start it waits at least, so that no signed URL is valid any more.
    quiet_seconds: Annotated[float, Field(ge=0)] = 30.0
    #: A removal leaves a frozen dataset alone.
    only_proto: bool = True
    #: Which version of the Secrets the work was started with; compared, never shown.
    credentials_version: str = ""
    #: The place of the source (upload, inspection) or the target (download) that is no bucket.
    volume: VolumePlace | None = None
    #: None: a child process of the operator.
    job: JobPlace | None = None
    signing: SigningPlace | None = None
    #: DtoolBucket `namespace/name` whose limit of concurrent transfers counts.
    bucket_key: str
    #: DtoolBucket through which `source` is read; its requests are counted under this name.
    source_bucket_key: str | None = None


class ProgressLine(TaskModel):
    """How far the worker is."""

    type: Literal["progress"] = "progress"
    phase: str
    items: int
    items_total: int
    bytes: int
    bytes_total: int


class MismatchLine(TaskModel):
    """An item that is not what the manifest says."""

    relpath: str
    expected: str
    found: str


class DatasetFacts(TaskModel):
    """What the worker found of a frozen dataset; times are seconds since 1970 in UTC."""

    name: str
    creator_username: str
    created_at: float | None
    frozen_at: float | None
    items: int
    size_bytes: int
    etag_md5: int
    read: int
    same_as_source: int
    unproven: int
    mismatch_count: int = 0
    mismatches: tuple[MismatchLine, ...] = ()
    moved: int = 0


class SourceFacts(TaskModel):
    """Which dataset an inspection found, and how large; times are seconds since 1970 in UTC.

    `content_sha256`: what equal manifests share, though their bytes differ.
    """

    uuid: str
    name: str
    creator_username: str
    created_at: float | None
    frozen_at: float | None
    items: int
    size_bytes: int
    manifest_sha256: str
    content_sha256: str


class ResultLine(TaskModel):
    """The work is done; `facts` of a frozen dataset, `source` of an inspection, else neither."""

    type: Literal["result"] = "result"
    facts: DatasetFacts | None = None
    source: SourceFacts | None = None


class ErrorLine(TaskModel):
    """The work failed; `reason` is the library's. `facts`: what a verification found of a damaged dataset."""

    type: Literal["error"] = "error"
    reason: str
    message: str
    retryable: bool
    facts: DatasetFacts | None = None


class Side(StrEnum):
    """Which of a task's two places a request went to."""

    TARGET = "target"
    SOURCE = "source"


class RequestCount(TaskModel):
    """Requests of one kind that ended in one way; see `on_answer` of the library's S3 store."""

    side: Side
    operation: Annotated[str, Field(max_length=32)]
    result: Annotated[str, Field(max_length=32)]
    count: Annotated[int, Field(ge=1)]


class RequestsLine(TaskModel):
    """The S3 requests that were answered since the last such line."""

    type: Literal["requests"] = "requests"
    counts: tuple[RequestCount, ...]


WorkerLine = Annotated[ProgressLine | RequestsLine | ResultLine | ErrorLine, Field(discriminator="type")]
