"""What a bucket object says of the Pods that work for its datasets: where they run, and with what."""

from typing import Annotated

from pydantic import Field

from dtool_operator.api.choice import TaintEffect, TolerationOperator
from dtool_operator.api.schema import ApiModel

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]
Quantity = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$")]
"""An amount as Kubernetes writes it: `500m`, `2Gi`."""


class Toleration(ApiModel):
    """As v1.Toleration."""

    key: LabelKey | None = None
    """Taint; absent with operator Exists: every taint."""

    operator: TolerationOperator | None = None
    """Exists or Equal."""

    value: LabelValue | None = None
    """Value of the taint, for Equal."""

    effect: TaintEffect | None = None
    """Effect of the taint; absent: every effect."""

    toleration_seconds: Annotated[int, Field(ge=0, le=2147483647)] | None = None
    """How long a NoExecute taint is tolerated; absent: for ever."""


class Resources(ApiModel):
    """As v1.ResourceRequirements, for cpu, memory and ephemeral-storage."""

    requests: Annotated[dict[LabelKey, Quantity], Field(max_length=3)] = Field(default_factory=dict)
    """What a Pod gets at least."""

    limits: Annotated[dict[LabelKey, Quantity], Field(max_length=3)] = Field(default_factory=dict)
    """What a Pod gets at most."""


class Workers(ApiModel):
    """The Pods of Jobs that move data of this bucket; absent fields: the operator's settings."""

    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Labels of the nodes that they run on."""

    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=32)] = ()
    """Taints that they tolerate."""

    priority_class_name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Their PriorityClass."""

    resources: Resources = Resources()
    """Their resources."""
