"""What our requests carry otherwise than botocore would send them: handlers on a client's events.

Owns how a view of memory is sent without a copy, which checksum protects a bulk delete and a part, and that
signed URLs go to the bucket's region, and who parses listings. Imports nothing of botocore.
"""

import copy
import functools
from typing import Any

from dtool_s3.store.boto.answer import content_md5
from dtool_s3.store.boto.entries import take_entries
from dtool_s3.store.protocol import Body

_JOINED_BYTES = 1024**2


class ViewBody:
    """A view of memory in the form that botocore takes; it goes to the socket as it is, in one piece."""

    def __init__(self, view: memoryview) -> None:
        self.view = view.cast("B") if view.format != "B" or view.ndim != 1 else view
        self._position = 0

    def __len__(self) -> int:
        return len(self.view)

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes, at most `size`, none at the end; botocore computes the signature with it."""
        end = len(self.view) if size < 0 else self._position + size
        found = self.view[self._position : end]
        self._position += len(found)
        return found

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position."""
        self._position = position + (0, self._position, len(self.view))[whence]
        return self._position


def sendable(body: Body) -> bytes | ViewBody:
    """Return `body` as a parameter of the client; nothing that is large is copied.

    botocore joins plain bytes with the head of the request, which makes one packet of a small one.
    """
    if isinstance(body, memoryview):
        return ViewBody(body)
    return body if len(body) <= _JOINED_BYTES else ViewBody(memoryview(body))


def adapt(client: Any) -> None:
    """Register our handlers on a client's events, once for each client."""
    events = client.meta.events
    # after the handler that escapes what XML cannot hold
    events.register_last("before-call.s3.DeleteObjects", _protect_by_md5)
    events.register_first("before-endpoint-resolution.s3", _address_region)
    unsigned = copy.copy(client.meta.config)
    unsigned.s3 = {**(unsigned.s3 or {}), "payload_signing_enabled": False}
    events.register("before-call.s3.UploadPart", functools.partial(_sign_md5_only, config=unsigned))
    events.register("before-parse.s3.ListObjectsV2", take_entries)
    events.register_first("needs-retry.s3", _stay)
    for operation in ("PutObject", "UploadPart"):
        events.register(f"before-send.s3.{operation}", _unwrap)


def _protect_by_md5(params: dict[str, Any], **_: object) -> None:
    """Content-MD5 instead of the CRC that several servers do not know."""
    params["headers"]["Content-MD5"] = content_md5(params["body"])
    checksum = params["context"].get("checksum", {})
    checksum.pop("request_algorithm", None)
    told = checksum.pop("request_algorithm_header", None)
    if told is not None:
        params["headers"].pop(told["name"], None)


def _sign_md5_only(params: dict[str, Any], config: Any, **_: object) -> None:
    """Let the signature hold Content-MD5 alone, as botocore does over TLS: a SHA-256 of a GiB costs 0.7 s."""
    if "Content-MD5" in params["headers"]:
        params["context"]["client_config"] = config


def _address_region(context: dict[str, Any], **_: object) -> None:
    """Let URLs name the region's host: AWS's global one redirects, and a signed URL is for one host."""
    if context.get("is_presign_request"):
        context["use_global_endpoint"] = False


def _stay(request_dict: dict[str, Any], response: Any, **_: object) -> None:
    """Follow no redirect that names no region, as AWS's do.

    botocore would ask the same server for the region, be redirected again, ask again, and so on until the
    stack ends: before a load balancer that leads http to https it would take the process along.
    """
    if response is None or response[0] is None or not 300 <= response[0].status_code < 400:
        return
    headers = response[1].get("ResponseMetadata", {}).get("HTTPHeaders", {})
    if "x-amz-bucket-region" not in headers and "Region" not in response[1].get("Error", {}):
        request_dict.get("context", {}).get("s3_redirect", {})["redirected"] = True


def _unwrap(request: Any, **_: object) -> None:
    """Give the view itself to the connection; without a file there is nothing to wait for before sending."""
    if isinstance(request.body, ViewBody):
        request.body = request.body.view
        request.headers.pop("Expect", None)
