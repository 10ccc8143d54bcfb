"""Asks the API server whether this process may do something; changes nothing."""

from typing import Final

from dtool_operator.adapters.connection import Connection

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


async def may(
    connection: Connection,
    verb: str,
    group: str,
    resource: str,
    *,
    subresource: str = "",
    namespace: str = "",
    name: str = "",
) -> bool:
    """Tell whether a verb is allowed; `namespace` empty: in all, `name` empty: on every object.

    Raises ApiFailure, Refused.
    """
    attributes = {
        "verb": verb,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "namespace": namespace,
        "name": name,
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await connection.write("POST", _REVIEWS, review)
    return bool(answer["status"]["allowed"])
