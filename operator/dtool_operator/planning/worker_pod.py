"""What an administrator says of all Pods that work for datasets: the file `worker_pod_file`, parsed; pure.

Keys are those of a Pod's spec. What they do not say is in `manifests`; what a bucket object says comes on
top.
"""

from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from dtool_operator.api.parsing import describe_errors
from dtool_operator.planning.job_environment import RESERVED_PREFIX

MAX_CHARACTERS: Final = 64 * 1024
#: A user and group that no distribution gives to anybody, as in distroless images.
NOBODY: Final = 65532

Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|Ki|[mun])?$")]


class _PodModel(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
    )


class Resources(_PodModel):
    """Requests and limits by resource."""

    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}


class SecurityContext(_PodModel):
    """Whom a Pod's processes run as; null: left to the cluster, which OpenShift wants.

    `fs_group` makes volumes that are written to writable for this group; one that is only read is never
    changed, its group is then one more that the worker is in.
    """

    run_as_user: Annotated[int, Field(ge=1)] | None = NOBODY
    run_as_group: Annotated[int, Field(ge=0)] | None = NOBODY
    fs_group: Annotated[int, Field(ge=0)] | None = NOBODY
    fs_group_change_policy: Literal["OnRootMismatch", "Always"] = "OnRootMismatch"
    supplemental_groups: tuple[Annotated[int, Field(ge=0)], ...] = ()
    se_linux_options: dict[str, str] | None = None


class PullSecret(_PodModel):
    """A Secret with a registry's login, in the namespace of the Pod."""

    name: str


class WorkerPod(_PodModel):
    """What all Pods have beside their work.

    `service_account_name` counts in the operator's own namespace only: it lets workers have an identity of
    the cloud's where a bucket has no keys. `env`: proxies, a region.
    """

    resources: Resources = Resources(requests={"cpu": "250m", "memory": "512Mi"}, limits={"memory": "1Gi"})
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, Any], ...] = ()
    affinity: dict[str, Any] | None = None
    priority_class_name: str | None = None
    image_pull_secrets: tuple[PullSecret, ...] = ()
    security_context: SecurityContext = SecurityContext()
    service_account_name: str | None = None
    env: dict[str, str] = {}

    @field_validator("env")
    @classmethod
    def _check_env(cls, env: dict[str, str]) -> dict[str, str]:
        for name in env:
            if name.startswith(RESERVED_PREFIX) or "SECRET" in name or "TOKEN" in name:
                raise ValueError(f"{name} cannot be set here: it is the operator's own, or would be readable")
        return env


def parse_worker_pod(text: str) -> WorkerPod:
    """Read the file. Raises ValueError, which names the key at fault."""
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"has more than {MAX_CHARACTERS} characters")
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {error}") from error
    if document is None:
        return WorkerPod()
    if not isinstance(document, dict):
        raise ValueError("must be a mapping, as a Pod's spec")  # noqa: TRY004 - one error for whoever reads it
    try:
        return WorkerPod.model_validate(document)
    except ValidationError as error:
        raise ValueError(describe_errors("workerPod", error)) from error
