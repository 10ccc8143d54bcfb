"""Every write request of every operation, harmed on its way to a real server; upstream reads what is left.

The memory store's table, with every error of a store, is in `tests/unit/dtool_s3/test_fault_table.py`.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dtool_s3.errors import DtoolS3Error
from dtool_s3.settings import Credentials, Endpoint, Secret
from dtool_s3.store.s3 import S3Store
from tests.support.fault_judgement import (
    PREFIX,
    Kind,
    Operation,
    Scene,
    Snapshot,
    differences,
    judge,
    look,
    timeless,
)
from tests.support.fault_operations import OPERATIONS
from tests.support.fault_proxy import (
    CUT_BEFORE,
    CUT_IN_THE_BODY,
    ERROR_IN_200,
    ERROR_IN_200_AFTER,
    LOST_ANSWER,
    SILENCE,
    Fault,
    FaultProxy,
    Harm,
    Seen,
    fault_proxy,
    refusal,
)
from tests.support.upstream import Dtool, bucket_environment, ensure_upstream

if TYPE_CHECKING:
    from sandbox.seaweedfs import ObjectStore

#: Repeating does not help: each is played without end.
FINAL = (
    refusal(403, "AccessDenied"),
    refusal(507, "InsufficientStorage"),
    refusal(400, "QuotaExceeded"),
    refusal(400, "MetadataTooLarge"),
)
#: Repeating helps: each is played without end, and some once, which must end well.
PASSING = (
    refusal(500, "InternalError"),
    refusal(503, "SlowDown"),
    refusal(400, "BadDigest"),
    CUT_BEFORE,
    CUT_IN_THE_BODY,
    LOST_ANSWER,
    SILENCE,
)
#: Only copies and completions are answered so.
PASSING_IN_200 = (ERROR_IN_200, ERROR_IN_200_AFTER)
ONCE = {refusal(500, "InternalError"), CUT_IN_THE_BODY, LOST_ANSWER, ERROR_IN_200_AFTER}
PATIENCE_SECONDS = 0.1
_WRITES = {"PUT", "POST", "DELETE"}


@dataclass(frozen=True, slots=True)
class Lab:
    """The proxy, and the stores in front of and behind it."""

    proxy: FaultProxy
    calm: S3Store
    way: S3Store
    calm_source: S3Store
    source: S3Store
    upstream: Dtool
    directory: Path

    def scene(self) -> Scene:
        """A UUID of its own."""
        name = str(uuid.uuid4())
        directory = self.directory / name
        directory.mkdir()
        return Scene(
            name, directory, self.calm, self.way, self.calm_source, self.source, part_bytes=5 * 1024**2
        )


@dataclass(frozen=True, slots=True)
class Write:
    """One write request of an operation: `target` is a pattern with `{uuid}`, `skip` counts equal ones."""

    method: str
    target: str
    skip: int
    may_fail_in_200: bool


@dataclass(frozen=True, slots=True)
class Play:
    """An operation as it goes in peace: its writes, the state before and after."""

    operation: Operation
    writes: list[Write]
    before: Snapshot
    done: Snapshot


@dataclass(frozen=True, slots=True)
class Case:
    """A harmed operation, the error that it raised (or `""`), what it left, and what is wrong with that."""

    name: str
    scene: Scene
    raised: str
    left: Snapshot
    wrong: str


@pytest.fixture(scope="module")
def lab(object_store: ObjectStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    directory = tmp_path_factory.mktemp("faults")
    admin = object_store.identity("admin")
    keys = Credentials(admin.access_key, Secret(admin.secret_key))
    names = [object_store.create_bucket(f"faults-{uuid.uuid4().hex[:8]}") for _ in range(2)]
    environment = bucket_environment(
        names[0], object_store.endpoint, admin.access_key, admin.secret_key, directory / "home", PREFIX
    )
    with ExitStack() as stack:
        proxy = stack.enter_context(fault_proxy(object_store.endpoint))
        proxy.patience_seconds = PATIENCE_SECONDS

        def open_store(url: str, bucket: str) -> S3Store:
            return stack.enter_context(closing(S3Store(Endpoint(url), bucket, lambda: keys, attempts=2)))

        yield Lab(
            proxy,
            open_store(object_store.endpoint, names[0]),
            open_store(proxy.url, names[0]),
            open_store(object_store.endpoint, names[1]),
            open_store(proxy.url, names[1]),
            upstream=Dtool(ensure_upstream() / "bin", environment),
            directory=directory,
        )


def record(lab: Lab, operation: Operation) -> Play:
    """Play an operation in peace."""
    scene = lab.scene()
    operation.prepare(scene)
    before = look(scene)
    lab.proxy.requests.clear()
    operation.act(scene)
    seen: Counter[tuple[str, str]] = Counter()
    writes = []
    for request in [request for request in lab.proxy.requests if request.method in _WRITES]:
        if operation.own not in request.target:
            continue
        target = _pattern(request, scene.uuid)
        count = seen[request.method, target]
        may_fail_in_200 = request.is_copy or (request.method == "POST" and "uploadId=" in target)
        writes.append(Write(request.method, target, count, may_fail_in_200))
        seen[request.method, target] += 1
    return Play(operation, writes, _anonymous(before, scene.uuid), _anonymous(look(scene), scene.uuid))


def _pattern(request: Seen, name: str) -> str:
    target = re.sub(r"(README\.yml-)[\d.]+|(uploadId=)[^&]+", r"\1\2*", request.target)
    return target.replace(name, "{uuid}")


def _anonymous(snapshot: Snapshot, name: str) -> Snapshot:
    """Return a snapshot as if its UUID were one and the same everywhere."""

    def rename(text: bytes) -> bytes:
        return text.replace(name.encode(), b"uuid")

    objects = {
        key: (rename(body), {header: value.replace(name, "uuid") for header, value in headers.items()})
        for key, (body, headers) in snapshot.objects.items()
    }
    return Snapshot(objects, snapshot.registration, snapshot.unfinished_uploads)


def harms(write: Write) -> Iterator[tuple[Harm, int | None]]:
    """Everything that may happen to a write, and how often it does (None: without end)."""
    passing = PASSING + PASSING_IN_200 if write.may_fail_in_200 else PASSING
    yield from ((harm, None) for harm in FINAL + passing)
    yield from ((harm, 1) for harm in passing if harm in ONCE)


def harm_write(lab: Lab, play: Play, write: Write, harm: Harm, times: int | None) -> Case:
    """Harm one write of an operation."""
    scene = lab.scene()
    play.operation.prepare(scene)
    target = write.target.replace("{uuid}", scene.uuid)
    fault = Fault(harm, write.method, target, times=times, skip=write.skip)
    lab.proxy.faults.append(fault)
    raised = raises(play.operation, scene)
    lab.proxy.faults.clear()
    left = look(scene)
    wrong = judge(
        play.operation, play.before, _judged(left, scene, write, harm), play.done, raised=bool(raised)
    )
    if not fault.hits:
        wrong = f"nothing was hit; {wrong}"
    if times and raised:
        wrong = f"one failure was enough; {wrong}"
    name = f"{write.method} {write.target} ({write.skip}), {harm.name}, {'once' if times else 'always'}"
    return Case(name, scene, raised, left, wrong)


def _judged(left: Snapshot, scene: Scene, write: Write, harm: Harm) -> Snapshot:
    found = _anonymous(left, scene.uuid)
    if "uploads" in write.target and harm is LOST_ANSWER:
        # nobody was told its number: it has no parts, and `dtool-s3 abort-uploads` finds it
        return Snapshot(found.objects, found.registration, 0)
    return found


def raises(operation: Operation, scene: Scene) -> str:
    """Act; return the error, if any."""
    try:
        operation.act(scene)
    except DtoolS3Error as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_whatever_happens_to_a_write_upstream_reads_a_proto_or_a_complete_state(
    operation: Operation, lab: Lab
) -> None:
    play = record(lab, operation)
    assert play.writes, "nothing of its own was written"

    cases = [
        harm_write(lab, play, write, harm, times) for write in play.writes for harm, times in harms(write)
    ]

    complaints = [f"{case.name}: {case.wrong} (raised: {case.raised})" for case in cases if case.wrong]
    complaints += check_upstream(lab, cases)
    complaints += [f"{case.name}, repeated: {wrong}" for case in cases if (wrong := repeat(play, case))]
    assert not complaints, "\n".join(complaints)


def repeat(play: Play, case: Case) -> str:
    """Repeat in peace what raised; say what is wrong in the end."""
    raised = raises(play.operation, case.scene) if case.raised else ""
    return raised or differences(_anonymous(look(case.scene), case.scene.uuid), play.done)


def check_upstream(lab: Lab, cases: list[Case]) -> list[str]:
    """Let upstream read each state that was left, and compare with what lies there.

    Of states that are equal but for UUID and times it reads one: a reading costs 0.3 s.
    """
    distinct = list({fingerprint(case): case for case in cases}.values())
    uris = [case.scene.bench.uri for case in distinct]
    return [
        f"{case.name}: upstream reads {state}"
        for case, state in zip(distinct, lab.upstream.script("states", uris=uris), strict=True)
        if state != expected_state(case.left)
    ]


def fingerprint(case: Case) -> str:
    """Return a text that is equal for states that are equal but for UUID and times."""
    left = _anonymous(case.left, case.scene.uuid)
    keys = sorted(re.sub(r"(README\.yml-)[\d.]+", r"\1", key) for key in left.objects)
    return repr((keys, left.registration, sorted(timeless(left).items())))


def expected_state(left: Snapshot) -> dict[str, Any] | None:
    """What a correct reader gives."""
    if left.kind is Kind.ABSENT:
        return None
    objects = left.objects
    hashes = {
        key.removeprefix("data/"): headers["checksum"]
        for key, (_, headers) in objects.items()
        if key.startswith("data/")
    }
    if left.kind is Kind.PROTO:
        return {"type": "protodataset", "hashes": hashes}

    def documents(folder: str) -> dict[str, Any]:
        found = [key for key in objects if key.startswith(folder)]
        return {key[len(folder) : -len(".json")]: json.loads(objects[key][0]) for key in found}

    return {
        "type": "dataset",
        "hashes": hashes,
        "is_complete": True,
        "readme": objects["README.yml"][0].decode(),
        "tags": sorted(key.removeprefix("tags/") for key in objects if key.startswith("tags/")),
        "annotations": documents("annotations/"),
        "overlays": documents("overlays/"),
    }
