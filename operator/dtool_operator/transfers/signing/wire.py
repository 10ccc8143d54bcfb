"""What a worker and the signing endpoint say to each other: JSON over HTTPS, each question one POST.

Worker and endpoint are one version. A signed URL is a secret: no repr shows one. Every size that a worker
states is bounded here; what it may ask for is decided in `grant`.
"""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from dtool_operator.planning.task import Side
from dtool_s3 import errors

#: Of the token by which a worker says who it is; the API server checks it.
AUDIENCE: Final = "dtool-operator-signing"
GREETING_PATH: Final = "/v1/greeting"
URLS_PATH: Final = "/v1/urls"
CALL_PATH: Final = "/v1/call"

MAX_BATCH: Final = 500
#: What a question may have: 500 URLs with the longest handles, or 10,000 parts.
MAX_QUESTION_BYTES: Final = 2 * 1024**2
MAX_ANSWER_BYTES: Final = 16 * 1024**2
MAX_TOKEN_CHARACTERS: Final = 8192
MAX_OBJECT_BYTES: Final = 5 * 1024**3
MAX_PARTS: Final = 10_000

_Key = Annotated[str, Field(max_length=1024)]
_Bytes = Annotated[int, Field(ge=0, le=MAX_OBJECT_BYTES)]
_MD5 = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
_Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=2048)]], Field(max_length=8)
]
_Etag = Annotated[str, Field(pattern=r"^[\x21\x23-\x7e]{1,128}$")]
_UploadId = Annotated[str, Field(min_length=1, max_length=2048)]
_Number = Annotated[int, Field(ge=1, le=MAX_PARTS)]


class SigningFailed(errors.StorageError):
    """The signing endpoint does not answer, or does not know this worker; says nothing of S3.

    Whoever raises it has been patient already.
    """

    reason = "SigningFailed"


class Model(BaseModel):
    """Frozen; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ReadAsked(Model):
    """GET or HEAD of one key."""

    do: Literal["get", "head"]
    key: _Key


class ListAsked(Model):
    """One page of a listing, from `token` on."""

    do: Literal["list"] = "list"
    prefix: _Key
    delimiter: Literal["", "/"] = ""
    token: Annotated[str, Field(max_length=4096)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000


class PutAsked(Model):
    """PUT of one key, of exactly these bytes and headers."""

    do: Literal["put"] = "put"
    key: _Key
    size_bytes: _Bytes
    md5: _MD5
    metadata: _Metadata = {}
    if_absent: bool = False
    if_match: _Etag | None = None


class PartAsked(Model):
    """PUT of one part of an upload, of exactly these bytes."""

    do: Literal["part"] = "part"
    key: _Key
    upload_id: _UploadId
    number: _Number
    size_bytes: _Bytes
    md5: _MD5


UrlAsked = Annotated[ReadAsked | ListAsked | PutAsked | PartAsked, Field(discriminator="do")]


class UrlsAsked(Model):
    """A batch."""

    asked: Annotated[tuple[UrlAsked, ...], Field(min_length=1, max_length=MAX_BATCH)]


class UrlGiven(Model):
    """A URL, and the headers that the request must carry exactly so."""

    url: str = Field(repr=False)
    headers: dict[str, str] = {}


class Refusal(Model):
    """Why something was not done: the name of an error of the library, its S3 code, its sentence."""

    error: str
    code: str = ""
    message: str


class UrlsGiven(Model):
    """One answer for each that was asked, in its order."""

    given: tuple[UrlGiven | Refusal, ...]


class StartUpload(Model):
    """Start a multipart upload of an item."""

    do: Literal["start"] = "start"
    key: _Key
    metadata: _Metadata


class PartDone(Model):
    """A part that was uploaded."""

    number: _Number
    etag: _Etag


class CompleteUpload(Model):
    """Make the object of its parts."""

    do: Literal["complete"] = "complete"
    key: _Key
    upload_id: _UploadId
    parts: Annotated[tuple[PartDone, ...], Field(min_length=1, max_length=MAX_PARTS)]


class AbortUpload(Model):
    """Give an upload up."""

    do: Literal["abort"] = "abort"
    key: _Key
    upload_id: _UploadId


class ListUploads(Model):
    """List unfinished uploads."""

    do: Literal["uploads"] = "uploads"
    prefix: _Key


class DeleteItem(Model):
    """Delete an item of the proto dataset; with `if_match`, of this ETag only."""

    do: Literal["delete"] = "delete"
    key: _Key
    if_match: _Etag | None = None


class PartSizes(Model):
    """Tell the sizes of an object's parts."""

    do: Literal["sizes"] = "sizes"
    key: _Key


Call = Annotated[
    StartUpload | CompleteUpload | AbortUpload | ListUploads | DeleteItem | PartSizes,
    Field(discriminator="do"),
]


class CallAsked(Model):
    """One thing that the endpoint shall do itself."""

    call: Call


class UploadFound(Model):
    """An unfinished upload."""

    key: str
    upload_id: str


class CallAnswer(Model):
    """What came of a call; which field is set follows from the call."""

    upload_id: str = ""
    etag: str = ""
    uploads: tuple[UploadFound, ...] = ()
    sizes: tuple[int, ...] = ()


class Greeting(Model):
    """What a worker must know of its side: where the bucket is, whom to trust there, what URLs live.

    `ca_pem` None: the public certificates.
    """

    side: Side
    bucket: str
    endpoint_url: str
    ca_pem: str | None
    expires_seconds: int


def _named(root: type[errors.DtoolS3Error]) -> dict[str, type[errors.DtoolS3Error]]:
    found = {root.__name__: root}
    for each in root.__subclasses__():
        found |= _named(each)
    return found


_ERRORS: Final = _named(errors.DtoolS3Error)


def build_refusal(error: errors.DtoolS3Error) -> Refusal:
    """Say an error of the library; its text names bucket, key and S3 code only."""
    code = error.code if isinstance(error, errors.StorageError) else ""
    return Refusal(error=type(error).__name__, code=code, message=str(error)[:1024])


def build_error(refusal: Refusal) -> errors.DtoolS3Error:
    """Return the error that was said; one that is not known is a StorageError."""
    kind = _ERRORS.get(refusal.error, errors.RequestRefused)
    if issubclass(kind, errors.StorageError):
        return kind(refusal.message, code=refusal.code)
    return kind(refusal.message)
