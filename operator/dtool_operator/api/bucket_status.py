"""Status of a DtoolBucket: what the operator saw."""

from typing import Annotated

from pydantic import Field

from dtool_operator.api.conditions import Condition
from dtool_operator.api.prefixes import PREFIX_MAXIMUM
from dtool_operator.api.schema import (
    Count,
    LongText,
    NamespaceName,
    ObservedGeneration,
    ShortText,
    StatusModel,
)


class DatasetCounts(StatusModel):
    """Datasets in the bucket at the last listing."""

    total: Count = 0
    """All, dangling and unreadable ones included."""

    frozen: Count = 0
    """Frozen ones."""

    proto: Count = 0
    """Proto datasets."""

    unreadable: Count = 0
    """Those whose administrative metadata cannot be read."""

    dangling: Count = 0
    """Registration keys without a dataset."""


class NamespaceUsage(StatusModel):
    """What one namespace keeps in the bucket."""

    namespace: ShortText
    """The namespace."""

    prefix: LongText
    """Its prefix."""

    datasets: Count = 0
    """Datasets under the prefix."""

    size_bytes: Count = 0
    """Bytes of those that DtoolDatasets describe."""


class Violation(StatusModel):
    """A dataset that is where it should not be."""

    uuid: ShortText
    """Its uuid."""

    prefix: LongText
    """The prefix it is registered under, or lies under."""

    reason: ShortText
    """OutsideAnyPrefix or RegistrationMissing."""


class OverrideInForce(StatusModel):
    """A namespace whose prefix is not the derived one."""

    namespace: NamespaceName
    """The namespace."""

    prefix: Annotated[str, Field(max_length=PREFIX_MAXIMUM)]
    """Its prefix, exactly as the spec has it."""


class DtoolBucketStatus(StatusModel):
    """What the operator saw."""

    observed_generation: ObservedGeneration = None
    """metadata.generation that this status speaks of; None until the operator has looked."""

    conditions: Annotated[tuple[Condition, ...], Field(max_length=16)] = ()
    """Ready, Reachable, Listed, PrefixesRespected, and Reconciling or Stalled while they are true."""

    datasets: DatasetCounts | None = None
    """Datasets in the bucket; absent until the first listing."""

    size_bytes: Count | None = None
    """Bytes of what DtoolDatasets describe."""

    size: ShortText | None = None
    """The same for people: `75.7Gi`."""

    namespaces: Annotated[tuple[NamespaceUsage, ...], Field(max_length=100)] = ()
    """Usage per namespace, the largest first."""

    namespaces_omitted: Count | None = None
    """How many namespaces `namespaces` leaves out."""

    violations: Annotated[tuple[Violation, ...], Field(max_length=20)] = ()
    """Datasets outside every prefix or without registration key."""

    violations_count: Count | None = None
    """How many there are in all."""

    imported: Count | None = None
    """Imported DtoolDatasets of this bucket; absent where none is and none is asked for."""

    prefix_overrides: Annotated[tuple[OverrideInForce, ...], Field(max_length=1000)] = ()
    """The `spec.prefixOverrides` in force; changes are checked against them (rule 3)."""

    last_handled_reconcile_at: ShortText | None = None
    """Value of the annotation dtool.dev/reconcileRequestedAt that was acted on last."""
