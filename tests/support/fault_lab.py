"""A lab whose S3 endpoint is a fault proxy: tests hold requests back, refuse them, or end the endpoint.

What people do with buckets (`write`, `keys`, `store`) goes past the proxy; the operator and its workers know
only the proxy.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from dtool_operator.names import API_VERSION
from sandbox.errors import KubectlError
from tests.support.admin_api import AdminApi
from tests.support.datasets import UUID
from tests.support.eventually import eventually
from tests.support.fault_operator import FaultOperator
from tests.support.fault_proxy import HELD, Fault, FaultProxy, fault_proxy
from tests.support.lab import ADMIN_NAMESPACE, Body, Lab
from tests.support.play_kubelet import PlayKubelet

ITEMS = {f"run/{number:03}.dat": f"item {number}\n".encode() * 20 for number in range(40)}
DONE = 10
KINDS = "dtooldatasets,dtoolbuckets"


@dataclass
class FaultLab(Lab):
    """A lab; `s3` is the proxy that its bucket objects name as their endpoint."""

    operator: FaultOperator
    _open: ExitStack = field(default_factory=ExitStack)
    _kubelet: PlayKubelet | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.admin = AdminApi(self.control_plane)
        self.namespaces: list[str] = []
        self.secret_keys: tuple[str, str] | None = None
        self.s3: FaultProxy = self._open.enter_context(fault_proxy(self.object_store.endpoint))

    # ---- the endpoint --------------------------------------------------------------------------------

    def end_endpoint(self) -> None:
        """End the endpoint: connections are refused."""
        self.s3.faults.clear()
        self._open.close()

    def start_endpoint(self) -> None:
        """Start it again where it was; what it noted before stays."""
        old = self.s3
        port = urlsplit(old.url).port or 0
        self.s3 = self._open.enter_context(fault_proxy(self.object_store.endpoint, port=port))
        self.s3.requests.extend(old.requests)

    def hold_copies(self, *, after: int = DONE) -> None:
        """Let so many items be copied; those that follow wait at the endpoint until `let_go`."""
        self.s3.faults.append(Fault(HELD, "PUT", "*/data/*", times=None, skip=after))

    def let_go(self) -> None:
        """Undo every fault of the endpoint."""
        self.s3.faults.clear()

    def copies(self, since: int = 0) -> Counter[str]:
        """Count the requests that copy an item, by key; `since`: of those after so many requests."""
        seen = self.s3.requests[since:]
        return Counter(one.target for one in seen if one.is_copy and "/data/" in one.target)

    def writes(self, since: int = 0) -> Counter[str]:
        """Count the requests that bring an item, copied or sent, by key; `since` as above."""
        seen = self.s3.requests[since:]
        keys = (one.target.partition("?")[0] for one in seen if one.method == "PUT")
        return Counter(key for key in keys if "/data/" in key)

    # ---- the node that is not there ------------------------------------------------------------------

    @property
    def kubelet(self) -> PlayKubelet:
        """Runs the Pods of this lab's namespaces from the first time on that it is asked for."""
        if self._kubelet is None:
            assert self.operator.api is not None
            directory = self.operator.directory / f"kubelet-{self.suffix}"
            self._kubelet = PlayKubelet(self.admin, directory, self.suffix)
            self.operator.api.read_log = self._kubelet.log
        return self._kubelet

    # ---- the bench -----------------------------------------------------------------------------------

    def start_copy(self, name: str = "raw", *, after: int = DONE, **spec: Any) -> dict[str, Any]:
        """Write a source, start copying it, and hold the copy in its middle; return what is done."""
        self.write(self.instruments, items=ITEMS)
        self.hold_copies(after=after)
        self.dataset(name, **{"source": {"uri": self.uri(UUID)}, **spec})
        return eventually(lambda: self._assert_held(after), within=30)

    def _assert_held(self, after: int) -> dict[str, Any]:
        done = self.data()
        assert len(done) == after, f"{len(done)} items are done"
        assert len(self.copies()) > after
        return done

    def data(self, namespace: str | None = None) -> dict[str, Any]:
        """Return when each item of the datasets of a namespace was written."""
        listed = self.keys(self.bucket, f"u/{namespace or self.alice}/")
        return {key: one["LastModified"] for key, one in listed.items() if "/data/" in key}

    def assert_resumed(self, done: dict[str, Any]) -> None:
        """Every item is there once, what was done before was not written again, one registration key."""
        after = self.data()
        assert len(after) == len(ITEMS)
        assert {key: after[key] for key in done} == done
        assert list(self.keys(self.bucket, "dtool-")) == [f"dtool-{UUID}"]

    # ---- what people do ------------------------------------------------------------------------------

    def bucket_object(self, name: str, *, namespace: str = ADMIN_NAMESPACE, **spec: Any) -> None:
        """See Lab; the endpoint is the proxy."""
        super().bucket_object(name, namespace=namespace, **{"endpoint": self.s3.url, **spec})

    def namespace(self, name: str, *, is_admitted: bool = True) -> None:
        """See Lab."""
        self.namespaces.append(name)
        super().namespace(name, is_admitted=is_admitted)

    def patch(self, kind: str, name: str, body: Body, namespace: str | None = None) -> None:
        """`kubectl patch` an object."""
        place = ("--namespace", namespace or self.alice)
        self.control_plane.kubectl("patch", kind, name, *place, "--type=merge", f"--patch={json.dumps(body)}")

    def delete(self, kind: str, name: str, namespace: str | None = None, *, wait: bool = True) -> None:
        """`kubectl delete` an object; `wait` until it is gone."""
        place = () if kind == "namespace" else ("--namespace", namespace or self.alice)
        self.control_plane.kubectl(
            "delete", kind, name, *place, f"--wait={json.dumps(wait)}", "--timeout=40s"
        )

    def get(self, kind: str, name: str, namespace: str | None = None) -> Body:
        """Return an object, at less cost than by kubectl; raises AssertionError where there is none."""
        body = self._read(kind, name, namespace)
        assert body is not None, f"there is no {kind} {name}"
        return body

    def is_there(self, kind: str, name: str, namespace: str | None = None) -> bool:
        """Tell whether an object exists."""
        return self._read(kind, name, namespace) is not None

    def _read(self, kind: str, name: str, namespace: str | None) -> Body | None:
        group = "/api/v1" if kind in {"secret", "namespace"} else f"/apis/{API_VERSION}"
        place = "" if kind == "namespace" else f"/namespaces/{namespace or self.alice}"
        return self.admin.find(f"{group}{place}/{kind}s/{name}")

    def clear(self) -> None:
        """Remove the lab's objects whatever their state: no later operator looks at them."""
        kubectl = self.control_plane.kubectl
        listed = json.loads(kubectl("get", KINDS, "--all-namespaces", "--output=json"))["items"]
        for body in listed:
            metadata = body["metadata"]
            if self.suffix not in metadata["namespace"] + metadata["name"]:
                continue
            place = (
                f"{body['kind'].lower()}s.dtool.dev/{metadata['name']}",
                "--namespace",
                metadata["namespace"],
            )
            kubectl("delete", *place, "--wait=false", "--ignore-not-found")
            with suppress(KubectlError):  # it is gone
                kubectl("patch", *place, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
        if self.namespaces:
            kubectl("delete", "namespace", *set(self.namespaces), "--wait=false", "--ignore-not-found")


@contextmanager
def open_lab(operator: FaultOperator) -> Iterator[FaultLab]:
    """Open a lab that is ready: the operator runs, both bucket objects are Ready; clear it in the end."""
    lab = FaultLab(operator.control_plane, operator.object_store, operator)
    with lab._open:
        operator.start()
        lab.set_up()
        try:
            yield lab
        finally:
            assert operator.api is not None
            operator.api.heal()
            operator.api.read_log = None
            if lab._kubelet is not None:
                lab._kubelet.close()
            lab.let_go()
            lab.clear()
