"""The API server as its administrator asks it, at less cost than by kubectl."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sandbox.controlplane import ControlPlane

Body = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class AdminApi:
    """One API server; every request has a connection of its own, so threads may share this."""

    control_plane: ControlPlane

    def ask(
        self, method: str, path: str, body: Body | None = None, *, content_type: str = "application/json"
    ) -> tuple[int, Body]:
        """Return status and document of an answer. Raises OSError, HTTPException where there is none."""
        pki = self.control_plane.directory / "pki"
        tls = ssl.create_default_context(cafile=str(self.control_plane.ca_file))
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        netloc = urlsplit(self.control_plane.server).netloc
        sent = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": content_type}
        with closing(
            http.client.HTTPSConnection(netloc, context=tls, timeout=_TIMEOUT_SECONDS)
        ) as connection:
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            document: Body = json.loads(answer.read())
            return answer.status, document

    def find(self, path: str) -> Body | None:
        """Return a document; None where there is no such object."""
        status, body = self.ask("GET", path)
        if status == 404:
            return None
        assert status == 200, body
        return body
