"""The task document: what a worker shall do, and the lines it answers with; plain JSON, no secrets.

The same document serves a child process and a Kubernetes Job. Keys are never in it: a location names a
credentials file that the worker reads, and reads again when the store refuses it.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from dtool_s3.settings import Addressing, ConditionalWrites


class TaskModel(BaseModel):
    """Frozen; unknown fields are an error: writer and reader are one version."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskKind(StrEnum):
    """What a worker can do."""

    COPY = "copy"
    VERIFY = "verify"
    REMOVE = "remove"


class Location(TaskModel):
    """One bucket as one identity sees it, and the dataset's prefix there."""

    bucket: str
    prefix: str
    endpoint: str | None = None
    region: str | None = None
    addressing: Addressing = Addressing.AUTO
    conditional_writes: ConditionalWrites = ConditionalWrites.REQUIRED
    #: Path of a JSON file with the keys, filled in by the executor; None: the ambient chain.
    credentials_file: str | None = None


class Task(TaskModel):
    """One piece of work for one DtoolDataset (`key` is its uid).

    `fingerprint` changes whenever the work would be another: kind, dataset, places.
    """

    kind: TaskKind
    key: str
    namespace: str
    fingerprint: str
    uuid: str
    target: Location
    source: Location | None = None
    server_side: bool = False
    concurrency: Annotated[int, Field(ge=1, le=1024)] = 32
    #: Which version of the Secrets the work was started with; compared, never shown.
    credentials_version: str = ""
    #: DtoolBucket `namespace/name` whose limit of concurrent transfers counts.
    bucket_key: str


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


class ResultLine(TaskModel):
    """The work is done; `facts` is absent after a removal."""

    type: Literal["result"] = "result"
    facts: DatasetFacts | None = None


class ErrorLine(TaskModel):
    """The work failed; `reason` is the library's."""

    type: Literal["error"] = "error"
    reason: str
    message: str
    retryable: bool


WorkerLine = Annotated[ProgressLine | ResultLine | ErrorLine, Field(discriminator="type")]
