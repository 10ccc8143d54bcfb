"""An API server that answers as a test says: a list of answers, one per request; no Kubernetes behind it."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered to one request; status 0 breaks the connection instead."""

    status: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class ScriptedApi:
    """Where it listens, what it will answer (the last answer for ever), and what it was asked."""

    answers: list[Answer]
    url: str = ""
    asked: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        await request.read()
        self.asked.append(f"{request.method} {request.path}")
        self.tokens.append(request.headers.get("Authorization", "").partition(" ")[2])
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer.status == 0:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        text = json.dumps(answer.body)
        return web.Response(status=answer.status, text=text, headers=answer.headers)


@asynccontextmanager
async def scripted_api(*answers: Answer) -> AsyncIterator[ScriptedApi]:
    """Listen on loopback until the block is left."""
    api = ScriptedApi(list(answers))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", api.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    api.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield api
    finally:
        await runner.cleanup()


def write_kubeconfig(path: Path, *, server: str, token: str = "", ca_file: Path | None = None) -> Path:
    """Write a kubeconfig file for one server and one token."""
    cluster = {"server": server} | ({"certificate-authority": str(ca_file)} if ca_file else {})
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
        "current-context": "it",
    }
    path.write_text(yaml.safe_dump(document))
    return path
