"""Objects of the user's cluster, by the user's kubectl: his contexts, logins and rights apply.

Owns how kubectl is called; the one way in which every command asks the API server. Never touches a Secret.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dtool_operator.cli.failure import CommandFailed
from dtool_operator.cli.kubectl_words import Relay, explain

Body = Mapping[str, Any]

FIELD_MANAGER: Final = "kubectl-dtool"
"""Owner of the fields that the plugin writes by server-side apply."""

_RELAY_SECONDS: Final = 2.0
#: No time limit but the request's own: a login that kubectl starts may wait for a person.
_TIMEOUT: Final = "--request-timeout=30s"


@dataclass(frozen=True, slots=True)
class Place:
    """Which namespace is meant: one, all of them, or (neither) that of the context."""

    namespace: str | None = None
    is_everywhere: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The place as kubectl takes it."""
        if self.is_everywhere:
            return ("--all-namespaces",)
        return () if self.namespace is None else (f"--namespace={self.namespace}",)

    def __str__(self) -> str:
        """Return the place as a message has it, with a blank in front."""
        if self.is_everywhere:
            return " in all namespaces"
        return "" if self.namespace is None else f" in namespace {self.namespace}"


HERE: Final = Place()
EVERYWHERE: Final = Place(is_everywhere=True)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The kubectl of the search path, with the options that choose a cluster and a user."""

    options: Sequence[str] = ()

    def read(self, resource: str, name: str, *, namespace: str | None = None) -> Body:
        """Get one object; raises CommandFailed."""
        place = Place(namespace)
        words = ("get", resource, name, *place.words, *self.options, "--output=json", _TIMEOUT)
        what = f"cannot read {resource} {name}{place}"
        body = _parse(self.call(words, what=what))
        if not isinstance(body, dict) or not isinstance(body.get("metadata"), dict):
            raise CommandFailed(f"kubectl gave no object for {resource} {name}")
        return body

    def list_all(self, resource: str, place: Place = HERE, *, selector: str | None = None) -> list[Body]:
        """Get all objects of a kind; raises CommandFailed."""
        chosen = () if selector is None else (f"--selector={selector}",)
        words = ("get", resource, *place.words, *chosen, *self.options, "--output=json", _TIMEOUT)
        return _items(_parse(self.call(words, what=f"cannot list {resource}{place}")), resource)

    def apply(self, body: Body, *, is_trial: bool = False) -> Body:
        """Apply one object by server-side apply, or only try; return it as the API server has it."""
        trial = ("--dry-run=server",) if is_trial else ()
        manager = ("--server-side", f"--field-manager={FIELD_MANAGER}")
        words = ("apply", *manager, *trial, *self.options, "--filename=-", "--output=json", _TIMEOUT)
        what = f"cannot apply {body.get('kind')} {body['metadata']['name']}"
        answer = _parse(self.call(words, what=what, stdin=json.dumps(body)))
        if not isinstance(answer, dict):
            raise CommandFailed(f"{what}: kubectl gave no object")
        return answer

    def try_file(self, path: str, place: Place) -> list[Body]:
        """Let the API server check a file of manifests; return its objects as they would be then."""
        words = ("apply", "--dry-run=server", f"--filename={path}", *place.words)
        answer = self.call((*words, *self.options, "--output=json", _TIMEOUT), what=f"cannot apply {path}")
        return _objects(_parse(answer))

    def read_file(self, path: str, place: Place) -> list[Body]:
        """Read a file of manifests without the API server's checks."""
        words = ("create", "--dry-run=client", "--validate=ignore", f"--filename={path}", *place.words)
        answer = self.call((*words, *self.options, "--output=json", _TIMEOUT), what=f"cannot read {path}")
        return _objects(_parse(answer))

    def annotate(self, resource: str, name: str, annotation: str, place: Place) -> None:
        """Set an annotation `key=value`; raises CommandFailed."""
        words = ("annotate", resource, name, *place.words, *self.options, "--overwrite", annotation, _TIMEOUT)
        self.call(words, what=f"cannot annotate {resource} {name}{place}")

    def patch(self, resource: str, name: str, change: Body, place: Place) -> None:
        """Merge a change into an object; raises CommandFailed."""
        merge = ("--type=merge", f"--patch={json.dumps(change)}")
        words = ("patch", resource, name, *place.words, *self.options, *merge, _TIMEOUT)
        self.call(words, what=f"cannot change {resource} {name}{place}")

    def find_namespace(self) -> str:
        """Return the namespace of the context."""
        words = ("config", "view", "--minify", "--output=jsonpath={..namespace}", *self.options)
        return self.call(words, what="cannot read the kubeconfig").decode().strip() or "default"

    def call(self, words: Sequence[str], *, what: str, stdin: str | None = None) -> bytes:
        """Run kubectl; return what it printed, or raise CommandFailed with what it said."""
        read_end, write_end = os.pipe()
        relay = Relay(read_end, getattr(sys.stderr, "buffer", None))
        relay.start()
        try:
            done = subprocess.run(  # noqa: S603 - no shell; the words are the user's own
                [find_kubectl(), *words],
                input=None if stdin is None else stdin.encode(),
                stdout=subprocess.PIPE,
                stderr=write_end,
                check=False,
            )
        finally:
            os.close(write_end)
            relay.join(_RELAY_SECONDS)  # a login may have left a helper behind, which keeps the pipe open
        if done.returncode != 0:
            raise explain(what, relay.error)
        return done.stdout


def find_kubectl() -> str:
    """Find kubectl in the search path; raises CommandFailed."""
    program = shutil.which("kubectl")
    if program is None:
        raise CommandFailed("kubectl is not in the search path", "install it, or add its directory to PATH")
    return program


def find_all(kubectl: Kubectl, resource: str, namespace: str) -> tuple[list[Body], bool]:
    """List a kind in all namespaces or, where the user may not, in one; tell whether these are all."""
    try:
        return kubectl.list_all(resource, EVERYWHERE), True
    except CommandFailed as error:
        if error.reason != "Forbidden":
            raise
        return kubectl.list_all(resource, Place(namespace)), False


def _parse(answer: bytes) -> object:
    try:
        return json.loads(answer)
    except ValueError:
        return None


def _items(answer: object, resource: str) -> list[Body]:
    items = answer.get("items") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise CommandFailed(f"kubectl gave no list of {resource}")
    return [one for one in items if isinstance(one, dict) and isinstance(one.get("metadata"), dict)]


def _objects(answer: object) -> list[Body]:
    if isinstance(answer, dict) and answer.get("kind") == "List":
        return _items(answer, "objects")
    return [answer] if isinstance(answer, dict) and isinstance(answer.get("metadata"), dict) else []
