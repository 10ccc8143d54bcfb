"""Which of several replicas works: a Lease of coordination.k8s.io that one process holds at a time.

Owns the protocol: whose the Lease is, when it ran out, until when it is ours. Times of other machines are
never compared with ours: a Lease runs out when *we* have seen it unchanged for its whole duration, and is
ours for RENEW_DEADLINE from before we last wrote it. Must not know what the holder does with it; that a
holder which cannot act any more (a stopped process, a hanging loop) is ended in time is the fence's work.
"""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from dtool_operator.adapters.connection import JSON, Refused
from dtool_operator.errors import ApiFailure, OperatorError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds; the defaults are those of Kubernetes' own controllers.

    Between the deadline, when the holder's process is gone, and the duration, when others may begin, lie
    five seconds for what is still on its way.
    """

    duration: int = 15
    renew_deadline: float = 10.0
    retry: float = 2.0


class LeaseApi(Protocol):
    """The part of a Connection that is needed here; give one of its own, that no queue of writes holds up."""

    async def read(self, path: str) -> dict[str, Any]:
        """Get a document; raises ApiFailure."""

    async def write(
        self, method: str, path: str, body: Mapping[str, Any], *, content_type: str = JSON
    ) -> dict[str, Any]:
        """Send a document; raises ApiFailure."""

    async def close(self) -> None:
        """Close connections."""


class Fence(Protocol):
    """Ends this process, and so its workers, once the last deadline it was told has passed."""

    def extend(self, deadline: float) -> None:
        """Set the deadline, on the clock of `read_clock`. Raises OSError if the fence is not there."""

    def close(self) -> None:
        """Take it down."""


class LeaseLost(OperatorError):
    """The Lease is another's, or could not be renewed in time: whoever worked by it must end at once."""

    def __init__(self, message: str) -> None:
        super().__init__("InternalError", message, retryable=False)


def read_clock() -> float:
    """Seconds since the machine started, those included in which it was suspended; see clock_gettime(2)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def build_identity(name: str) -> str:
    """Name this very process: one that takes the name of another does not take its Lease."""
    return f"{name}_{uuid.uuid4()}"


@dataclass(frozen=True, slots=True)
class _Seen:
    """A Lease that somebody holds as we saw it, and when it became so before our eyes."""

    face: tuple[object, ...]
    since: float
    duration: float


class Leadership:
    """One process's claim on the Lease: `acquire`, then `hold` for as long as it works, then `release`."""

    def __init__(
        self,
        api: LeaseApi,
        *,
        namespace: str,
        name: str,
        identity: str,
        build_fence: Callable[[], Fence],
        times: LeaseTimes | None = None,
        clock: Callable[[], float] = read_clock,
    ) -> None:
        self.identity = identity
        self.trouble: str | None = None
        """Why the Lease can be neither had nor waited for: the API server refuses it, or does not answer."""
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{name}"
        self._metadata = {"name": name, "namespace": namespace}
        self._build_fence = build_fence
        self._fence: Fence | None = None
        self._times = times or LeaseTimes()
        self._clock = clock
        self._seen: _Seen | None = None
        self._ours_until: float | None = None

    @property
    def is_ours(self) -> bool:
        """Whether the Lease is ours and its deadline has not passed."""
        return self._ours_until is not None and self._clock() < self._ours_until

    async def acquire(self, stop: asyncio.Event) -> bool:
        """Wait until the Lease is ours; False if told to stop before."""
        told = None
        while not stop.is_set():
            try:
                is_ours, self.trouble = await self._try(), None
                if is_ours:
                    _LOG.info("lease_acquired", extra={"identity": self.identity})
                    return True
                why = "another process holds the Lease"
            except ApiFailure as failure:
                why = self.trouble = f"the Lease cannot be had: {failure.message}"
            if why != told:
                level = logging.INFO if self.trouble is None else logging.WARNING
                _LOG.log(level, "waiting_for_lease", extra={"why": why})
                told = why
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._choose_pause())
        return False

    async def hold(self) -> None:
        """Renew until cancelled. Raises LeaseLost."""
        why = "it was never acquired"
        while self.is_ours:
            assert self._ours_until is not None
            # not beyond the deadline: the fence falls soon after it, and then nothing is said of why
            await asyncio.sleep(min(self._times.retry, self._ours_until - self._clock()))
            if not self.is_ours:  # no time is left; where we slept longer, others may have begun
                break
            try:
                async with asyncio.timeout(self._ours_until - self._clock()):
                    if not await self._try():
                        raise LeaseLost("the Lease is another's")
                why = "nobody ran this process in time"
            except ApiFailure as failure:
                why = failure.message
                _LOG.warning("lease_not_renewed", extra={"why": why})
            except TimeoutError:
                why = "the API server did not answer in time"
        raise LeaseLost(f"the Lease could not be renewed: {why}")

    async def release(self) -> None:
        """Let others have the Lease at once, when nothing works any more; the fence goes. Never fails."""
        try:
            if self.is_ours:
                self._ours_until = None
                body = await self._api.read(self._path)
                if body["spec"].get("holderIdentity") == self.identity:
                    await self._write("PUT", self._path, self._build_spec(body["spec"], holder=None), body)
                    _LOG.info("lease_released", extra={"identity": self.identity})
        except ApiFailure as failure:  # it runs out by itself
            _LOG.warning("lease_not_released", extra={"why": failure.message})
        finally:
            await self._api.close()
            if self._fence is not None:
                self._fence.close()

    async def _try(self) -> bool:
        """Take or renew the Lease if nobody else has it; tell whether it is ours now."""
        began = self._clock()
        body: dict[str, Any] | None
        try:
            body = await self._api.read(self._path)
        except Refused as refused:
            if refused.status != 404:
                raise
            body = None
        spec = {} if body is None else body.get("spec") or {}
        if spec.get("holderIdentity") not in (None, "", self.identity) and not self._has_run_out(spec):
            return False
        method, path = ("POST", self._collection) if body is None else ("PUT", self._path)
        try:
            await self._write(method, path, self._build_spec(spec, holder=self.identity), body)
        except Refused as refused:
            if refused.status == 409:  # somebody was faster, or changed something else of it
                return self.is_ours and await self._is_still_ours()
            raise
        self._take(began + self._times.renew_deadline)
        return True

    async def _is_still_ours(self) -> bool:
        """Look again after a conflict; nothing is renewed by it."""
        body = await self._api.read(self._path)
        return bool(body["spec"].get("holderIdentity") == self.identity)

    def _take(self, deadline: float) -> None:
        try:
            if self._fence is None:
                self._fence = self._build_fence()
            self._fence.extend(deadline)
        except OSError as error:
            raise LeaseLost(f"the fence is not there: {error}") from error
        self._ours_until = deadline

    def _has_run_out(self, spec: Mapping[str, Any]) -> bool:
        """Tell whether a Lease was unchanged for its whole duration, as far as we have seen ourselves."""
        face = tuple(spec.get(name) for name in ("holderIdentity", "renewTime", "acquireTime"))
        now = self._clock()
        if self._seen is None or self._seen.face != face:
            duration = float(spec.get("leaseDurationSeconds") or self._times.duration)
            self._seen = _Seen(face, now, duration)
        return now - self._seen.since >= self._seen.duration

    def _choose_pause(self) -> float:
        """Return the time until the next try: soon, and just when the Lease runs out."""
        if self._seen is None:
            return self._times.retry
        rest = self._seen.since + self._seen.duration - self._clock()
        return min(self._times.retry, max(rest, 0.1))

    def _build_spec(self, spec: Mapping[str, Any], *, holder: str | None) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        transitions = int(spec.get("leaseTransitions") or 0)
        if holder is None:  # the fields of nobody: as client-go leaves a Lease that it gives up
            return {"leaseDurationSeconds": 1, "renewTime": now, "leaseTransitions": transitions}
        is_new = spec.get("holderIdentity") != holder
        return {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._times.duration,
            "acquireTime": now if is_new else spec.get("acquireTime"),
            "renewTime": now,
            "leaseTransitions": transitions + (1 if is_new and spec else 0),
        }

    async def _write(
        self, method: str, path: str, spec: Mapping[str, Any], old: Mapping[str, Any] | None
    ) -> None:
        metadata = dict(self._metadata) if old is None else dict(old["metadata"])
        document = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        await self._api.write(method, path, {**document, "spec": spec})


FENCE_MARGIN_SECONDS: Final = 1.0
"""So much later than the deadline the fence falls: who still can, says in the log why it ends."""
