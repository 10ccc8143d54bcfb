"""From the token of a Pod's ServiceAccount to the Job that the Pod works for: asks the API server alone.

Keeps nothing. A token is a secret: none is in a message, a log or a repr.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from dtool_operator.adapters.connection import Connection, Refused
from dtool_operator.planning.transfer import JobRef

_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_SERVICE_ACCOUNT: Final = re.compile(r"system:serviceaccount:([a-z0-9-]{1,63}):[a-z0-9.-]{1,253}")
_POD_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ENDED: Final = frozenset({"Succeeded", "Failed"})


class TokenReviewer:
    """Knows the Pods that bear tokens for one audience."""

    def __init__(self, connection: Connection, *, audience: str) -> None:
        self._connection = connection
        self._audience = audience

    async def find_job(self, token: str) -> JobRef | None:
        """Return the Job whose living Pod this token was made for; None: the token is worth nothing here.

        The API server knows the token for our audience and the Pod that it is bound to; the Pod of that very
        uid still works; a Job is its controller. Raises ApiFailure where the API server does not say.
        """
        pod = await self._review(token)
        if pod is None:
            return None
        namespace, name, uid = pod
        try:
            body = await self._connection.read(f"/api/v1/namespaces/{namespace}/pods/{name}")
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return find_controlling_job(body, uid=uid)

    async def _review(self, token: str) -> tuple[str, str, str] | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [self._audience]},
        }
        answer = await self._connection.write("POST", _REVIEWS, body)
        return find_pod(answer.get("status") or {}, audience=self._audience)


def find_pod(status: Mapping[str, Any], *, audience: str) -> tuple[str, str, str] | None:
    """Read namespace, name and uid of the Pod that a token is bound to out of a review's status; pure.

    An API server that does not know audiences tells none, and is not believed.
    """
    if status.get("authenticated") is not True or audience not in (status.get("audiences") or ()):
        return None
    user = status.get("user") or {}
    account = _SERVICE_ACCOUNT.fullmatch(str(user.get("username")))
    extra = user.get("extra") or {}
    name = _only(extra.get("authentication.kubernetes.io/pod-name"))
    uid = _only(extra.get("authentication.kubernetes.io/pod-uid"))
    if account is None or name is None or uid is None or not _POD_NAME.fullmatch(name):
        return None
    return account[1], name, uid


def find_controlling_job(pod: Mapping[str, Any], *, uid: str) -> JobRef | None:
    """Return the Job that a Pod works for; None for another Pod of the name, one that ended or ends; pure."""
    metadata = pod["metadata"]
    phase = (pod.get("status") or {}).get("phase")
    if metadata["uid"] != uid or metadata.get("deletionTimestamp") or phase in _ENDED:
        return None
    for owner in metadata.get("ownerReferences") or ():
        is_job = owner["kind"] == "Job" and owner["apiVersion"] == "batch/v1"
        if is_job and owner.get("controller") is True:
            return JobRef(metadata["namespace"], owner["name"], owner["uid"])
    return None


def _only(values: Sequence[str] | None) -> str | None:
    return values[0] if isinstance(values, list) and len(values) == 1 and isinstance(values[0], str) else None
