"""How a SOURCE of `kubectl dtool cp` is written; pure. The API server says whether it means anything."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from dtool_operator.cli.failure import CommandFailed, ExitCode

_S3: Final = re.compile(r"s3://[^/]+/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/?")
_NAME_MAXIMUM: Final = 63
_HINT: Final = "see `kubectl dtool cp --help`"


@dataclass(frozen=True, slots=True)
class SourceText:
    """`spec.source`, a name for the object that is made of it, and whether it becomes a new dataset."""

    spec: dict[str, Any]
    name: str
    is_new: bool = False


def parse_source(text: str) -> SourceText:
    """Read a SOURCE; raises CommandFailed with the form that is expected."""
    if text.startswith("s3://"):
        found = _S3.fullmatch(text)
        if found is None:
            raise _wrong(text, "s3://BUCKET/UUID; objects/NAMESPACE/BUCKET/PREFIX/ is for plain objects")
        return SourceText({"uri": text.rstrip("/")}, f"dataset-{found[1][:8]}")
    if text.startswith(("http://", "https://")):
        last = urlsplit(text).path.rstrip("/").rpartition("/")[2]
        return SourceText({"uri": text}, f"dataset-{make_name(last)[:8]}".rstrip("-"))
    kind, _, rest = text.partition("/")
    match kind:
        case "dataset":
            return _parse_dataset(text, rest)
        case "stored":
            namespace, bucket, uuid = _split(text, rest, 3, "stored/NAMESPACE/BUCKET/UUID")
            ref = {"namespace": namespace, "name": bucket}
            return SourceText({"stored": {"bucketRef": ref, "uuid": uuid}}, f"dataset-{uuid[:8]}")
        case "objects":
            return _parse_objects(text, rest)
        case "volume":
            return _parse_volume(text, rest)
        case _:
            forms = "s3://, https://, dataset/, stored/, objects/ or volume/"
            raise _wrong(text, f"a source, which begins with {forms}")


def _parse_dataset(text: str, rest: str) -> SourceText:
    parts = rest.split("/")
    if not all(parts) or len(parts) > 2:
        raise _wrong(text, "dataset/NAME or dataset/NAMESPACE/NAME")
    ref = {"name": parts[-1], **({"namespace": parts[0]} if len(parts) == 2 else {})}
    return SourceText({"dataset": ref}, parts[-1])


def _parse_objects(text: str, rest: str) -> SourceText:
    namespace, bucket, prefix = _split(
        text, rest, 3, "objects/NAMESPACE/BUCKET/PREFIX/", last_may_be_empty=True
    )
    if prefix and not prefix.endswith("/"):
        raise _wrong(text, f"a prefix that ends in `/`: did you mean {text}/ ?")
    spec = {"objects": {"bucketRef": {"namespace": namespace, "name": bucket}, "prefix": prefix}}
    last = prefix.rstrip("/").rpartition("/")[2] or bucket
    return SourceText(spec, make_name(last), is_new=True)


def _parse_volume(text: str, rest: str) -> SourceText:
    claim, _, path = rest.partition("/")
    path, mark, layout = (
        path.rpartition(":") if path.endswith((":Dataset", ":Files")) else (path, "", "Files")
    )
    if not mark and claim.endswith((":Dataset", ":Files")):
        claim, _, layout = claim.rpartition(":")
    if not claim:
        raise _wrong(text, "volume/CLAIM/PATH, with :Dataset behind it for what dtool wrote")
    source = {"claimName": claim, **({"path": path} if path else {}), "layout": layout}
    last = path.rstrip("/").rpartition("/")[2] or claim
    return SourceText({"volume": source}, make_name(last), is_new=layout == "Files")


def parse_place(bucket: str | None, volume: str | None) -> dict[str, Any]:
    """Read `--to-bucket` or `--to-volume` into fields of the spec."""
    if volume is not None:
        claim, _, path = volume.partition(":")
        return {"volume": {"claimName": claim, **({"path": path} if path else {})}}
    return {"bucketRef": parse_bucket_ref(bucket or "")}


def parse_bucket_ref(text: str) -> dict[str, str]:
    """Read `[NAMESPACE/]NAME`."""
    namespace, slash, name = text.rpartition("/")
    if not name or "/" in namespace or (slash and not namespace):
        raise _wrong(text, "NAME or NAMESPACE/NAME of a DtoolBucket")
    return {"name": name, **({"namespace": namespace} if namespace else {})}


def make_name(text: str) -> str:
    """Make a name for an object out of any text; `dataset` where nothing is left of it."""
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_NAME_MAXIMUM].rstrip("-")
    return slug or "dataset"


def _split(
    text: str, rest: str, count: int, form: str, *, last_may_be_empty: bool = False
) -> tuple[str, ...]:
    parts = rest.split("/", count - 1)
    needed = parts[:-1] if last_may_be_empty else parts
    if len(parts) != count or not all(needed):
        raise _wrong(text, form)
    return tuple(parts)


def _wrong(text: str, expected: str) -> CommandFailed:
    return CommandFailed(f"{text!r} is not {expected}", _HINT, code=ExitCode.USAGE)
