"""What the API server's refusals mean, by what was asked; errors of `dtool_operator.errors`. No I/O."""

import re
from typing import Final

from dtool_operator import names
from dtool_operator.adapters.connection import Refused
from dtool_operator.api.reasons import Reason
from dtool_operator.api.schema import sanitize
from dtool_operator.errors import Conflict, Gone, OperatorError
from dtool_operator.planning.job_trouble import explain_refusal

_TERMINATING: Final = "NamespaceTerminating"
#: What RBAC says, in no other refusal (k8s.io/apiserver, endpoints/handlers/responsewriters).
_NO_RIGHT: Final = re.compile(r'User ".*" cannot \w+ resource "')
_MESSAGE_MAXIMUM: Final = 400


def translate_object(refused: Refused, description: str) -> OperatorError:
    """Translate a refused request about one object; `description` names it."""
    match refused.status:
        case 404:
            return Gone(f"{description} does not exist any more")
        case 409:
            return Conflict(f"{description} changed since it was read")
        case _:
            return refused


def translate_creation(refused: Refused, namespace: str, name: str) -> OperatorError:
    """Translate a refused creation of an object in a namespace."""
    if refused.status == 409:
        return Conflict(f"the name {name} is taken in namespace {namespace}")
    return translate_event(refused, namespace)


def translate_event(refused: Refused, namespace: str) -> OperatorError:
    """Translate a refused Event."""
    if refused.status == 404 or refused.cause == _TERMINATING:
        return Gone(f"the namespace {namespace} is being deleted or is gone")
    return refused


def translate_secret(refused: Refused, namespace: str, name: str, subject: str) -> OperatorError:
    """Translate a refused read of a Secret; `subject` is the operator, as `namespace:serviceaccount`."""
    match refused.status:
        case 404:
            message = f"the Secret {name} does not exist in namespace {namespace}; it is waited for"
            return OperatorError(Reason.SECRET_NOT_FOUND, message)
        case 403:
            return OperatorError(Reason.SECRET_FORBIDDEN, build_forbidden_message(namespace, name, subject))
        case _:
            return refused


def translate_config_map(refused: Refused, namespace: str, name: str, subject: str) -> OperatorError:
    """Translate a refused read of a bucket's CA bundle."""
    match refused.status:
        case 404:
            message = f"the ConfigMap {name} does not exist in namespace {namespace}; it is waited for"
            return OperatorError(Reason.CA_BUNDLE_INVALID, message)
        case 403:
            message = build_forbidden_message(namespace, name, subject, kind="ConfigMap")
            return OperatorError(Reason.SECRET_FORBIDDEN, message)
        case _:
            return refused


def build_forbidden_message(namespace: str, name: str, subject: str, *, kind: str = "Secret") -> str:
    """Say how a team lets the operator (`namespace:serviceaccount`) read its Secrets (rule 5)."""
    role = names.CREDENTIALS_READER_ROLE
    command = f"kubectl create rolebinding {role} --clusterrole={role} --serviceaccount={subject}"
    return f"the operator may not read {kind} {name} here; to let it: {command} --namespace={namespace}"


def translate_job(refused: Refused, namespace: str, subject: str) -> OperatorError:
    """Translate a refused request about Jobs and their Pods; `subject` as for Secrets.

    A missing right, a quota and an admission rule are all 403; only their sentences differ.
    """
    if refused.status == 404 or refused.cause == _TERMINATING:
        return Gone(f"the Job or its namespace {namespace} does not exist any more")
    if refused.status == 403 and _NO_RIGHT.search(refused.message):
        return OperatorError(Reason.JOBS_FORBIDDEN, build_jobs_forbidden_message(namespace, subject))
    if refused.status in (400, 403, 422):
        line = explain_refusal(sanitize(refused.message, _MESSAGE_MAXIMUM))
        return OperatorError(line.reason, line.message)
    return translate_object(refused, f"a Job in namespace {namespace}")


def build_jobs_forbidden_message(namespace: str, subject: str) -> str:
    """Say how a team lets the operator (`namespace:serviceaccount`) run Jobs in its namespace."""
    role = names.JOB_RUNNER_ROLE
    command = f"kubectl create rolebinding {role} --clusterrole={role} --serviceaccount={subject}"
    return f"the operator may not run Jobs here; to let it: {command} --namespace={namespace}"
