"""Requests to the sandbox's API server as its administrator, many at a time; and its count of writes.

kubectl would take minutes for ten thousand objects. Knows paths and JSON, not what is measured.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from dtool_operator.names import API_VERSION, FIELD_MANAGER, GROUP
from sandbox.controlplane import ControlPlane

IN_FLIGHT = 32
WRITES = frozenset({"APPLY", "DELETE", "PATCH", "POST", "PUT"})

Body = Mapping[str, Any]

_SAMPLE = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class ApiClient:
    """One connection pool to the API server."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def send(self, method: str, path: str, body: Body | None = None, *, content: str = "json") -> Any:
        """Send one request; raises RuntimeError for an answer that is no success."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": f"application/{content}"}
        async with self._session.request(method, path, data=data, headers=headers) as answer:
            text = await answer.text()
            if answer.status >= 300:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text)

    async def create(self, plural: str, body: Body) -> Any:
        """Create one of our objects."""
        return await self.send("POST", _path(plural, body["metadata"]["namespace"]), body)

    async def write_status(self, plural: str, body: Body, status: Body) -> Any:
        """Write a status as the operator would have written it: it then owns every field of it."""
        name, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
        path = f"{_path(plural, namespace)}/{name}/status?fieldManager={FIELD_MANAGER}&force=true"
        wanted = {
            "apiVersion": API_VERSION,
            "kind": body["kind"],
            "metadata": {"name": name, "namespace": namespace},
            "status": status,
        }
        return await self.send("PATCH", path, wanted, content="apply-patch+yaml")

    async def patch(self, plural: str, namespace: str, name: str, change: Body) -> Any:
        """Change an object as a user's edit does."""
        return await self.send(
            "PATCH", f"{_path(plural, namespace)}/{name}", change, content="merge-patch+json"
        )

    async def get(self, plural: str, namespace: str, name: str) -> Any:
        """Read one of our objects."""
        return await self.send("GET", f"{_path(plural, namespace)}/{name}")

    async def list_all(self, plural: str, namespace: str | None = None) -> list[Any]:
        """Read all objects of a kind, of one namespace or of all."""
        found: list[Any] = []
        token = ""
        while True:
            page = await self.send("GET", f"{_path(plural, namespace)}?limit=500&continue={token}")
            found += page["items"]
            token = page["metadata"].get("continue")
            if not token:
                return found

    async def watch(self, plural: str, namespace: str, version: str) -> AsyncIterator[Any]:
        """Give the events of a namespace after a version."""
        path = f"{_path(plural, namespace)}?watch=true&resourceVersion={version}"
        async with self._session.get(path, timeout=aiohttp.ClientTimeout(total=None)) as answer:
            async for line in answer.content:
                yield json.loads(line)

    async def count_writes(self) -> dict[str, int]:
        """Count the writes since the API server started that concern us, by verb and resource.

        The API server does not count by user: whoever measures writes nothing meanwhile. Leases are left
        out: it renews one of its own.
        """
        async with self._session.get("/metrics") as answer:
            text = await answer.text()
        found: dict[str, int] = {}
        for sample in _SAMPLE.finditer(text):
            labels = dict(_LABEL.findall(sample["labels"]))
            ours = labels["group"] == GROUP or labels["resource"] == "events"
            if labels["verb"] in WRITES and ours:
                key = f"{labels['verb']} {labels['resource']}"
                found[key] = found.get(key, 0) + int(float(sample["value"]))
        return found


@asynccontextmanager
async def connected(control_plane: ControlPlane) -> AsyncIterator[ApiClient]:
    """Open a client with the administrator's certificate."""
    pki = control_plane.directory / "pki"
    tls = ssl.create_default_context(cafile=str(control_plane.ca_file))
    tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    connector = aiohttp.TCPConnector(ssl=tls, limit=2 * IN_FLIGHT)
    async with aiohttp.ClientSession(control_plane.server, connector=connector) as session:
        yield ApiClient(session)


async def in_parallel(work: Iterable[Any], *, limit: int = IN_FLIGHT) -> None:
    """Await coroutines, so many at a time, in the order given."""
    queue = iter(work)

    async def go_on() -> None:
        for each in queue:
            await each

    async with asyncio.TaskGroup() as group:
        for _ in range(limit):
            group.create_task(go_on())


def _path(plural: str, namespace: str | None) -> str:
    place = "" if namespace is None else f"/namespaces/{namespace}"
    return f"/apis/{API_VERSION}{place}/{plural}"
