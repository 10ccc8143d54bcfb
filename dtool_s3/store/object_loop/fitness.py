"""Which keys, metadata, bodies and environments mean the same to obstore and to botocore; pure.

obstore cuts slashes at both ends of a key, refuses empty and dot segments and control characters, and takes
some metadata names for headers of HTTP. What is not plain goes through botocore.
"""

import re
from collections.abc import Mapping

from dtool_s3.store.protocol import Body

_UNFIT_SEGMENTS = frozenset({"", ".", ".."})
_CONTROL = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

_METADATA_NAME = re.compile(r"\A[A-Za-z0-9_-]+\Z")
# visible ASCII with single spaces inside: what signatures do with other spaces is told in several ways
_METADATA_VALUE = re.compile(r"\A[!-~]+( [!-~]+)*\Z")
_HEADERS = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "storage-class",
    }
)

# what obstore would add to requests because of these cannot be taken back by its settings
_UNWANTED = frozenset(
    {
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_BUCKET_KEY_ENABLED",
        "AWS_SSE_CUSTOMER_KEY_BASE64",
        "AWS_SSE_KMS_KEY_ID",
    }
)


def is_plain_key(key: str) -> bool:
    """Tell whether obstore sends `key` as it is."""
    return _UNFIT_SEGMENTS.isdisjoint(key.split("/")) and _CONTROL.search(key) is None


def is_plain_metadata(metadata: Mapping[str, str]) -> bool:
    """Tell whether obstore sends `metadata` as botocore would."""
    return all(
        _METADATA_NAME.match(name) and name.lower() not in _HEADERS and _METADATA_VALUE.match(value)
        for name, value in metadata.items()
    )


def is_plain_body(body: Body) -> bool:
    """Tell whether obstore takes `body` as it is: bytes in one row."""
    return isinstance(body, bytes) or (body.format == "B" and body.ndim == 1 and body.contiguous)


def is_plain_environment(environment: Mapping[str, str]) -> bool:
    """Tell whether the process's environment leaves obstore's requests alone."""
    return not any(name in environment for name in _UNWANTED)
