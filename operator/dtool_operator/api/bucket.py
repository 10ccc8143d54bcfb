"""DtoolBucket: an S3 bucket, its credentials, and the namespaces that may keep datasets in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, model_validator

from dtool_operator.api.access import CaBundle, Credentials, Encryption
from dtool_operator.api.bucket_status import DtoolBucketStatus
from dtool_operator.api.choice import (
    AccessMode,
    Addressing,
    ConditionalWrites,
    FromNamespaces,
    ImportMode,
    ReadAccess,
    SelectorOperator,
)
from dtool_operator.api.parsing import ApiObject, parse_metadata, parse_spec, parse_status
from dtool_operator.api.prefixes import (
    NAMESPACE_PLACEHOLDER,
    PREFIX_MAXIMUM,
    check_prefix,
    check_prefix_template,
)
from dtool_operator.api.schema import (
    ApiModel,
    Interval,
    NamespaceName,
    check_host,
)
from dtool_operator.api.workers import LabelKey, LabelValue, Workers

_ENDPOINT: Final = re.compile(r"https?://[^/?#@\s\x00-\x1f\x7f]+/?")


def _check_endpoint(endpoint: str) -> str:
    if not _ENDPOINT.fullmatch(endpoint):
        raise ValueError("must be http:// or https:// with a host and, if needed, a port, and nothing else")
    return check_host(endpoint)


Prefix = Annotated[str, Field(max_length=PREFIX_MAXIMUM), AfterValidator(check_prefix)]
PrefixTemplate = Annotated[str, Field(max_length=PREFIX_MAXIMUM), AfterValidator(check_prefix_template)]


class PrefixOverride(ApiModel):
    """Another prefix than the derived one for a namespace."""

    namespace: NamespaceName
    """The namespace."""

    prefix: Annotated[Prefix, Field(min_length=1)]
    """Its prefix."""


class TakeOver(ApiModel):
    """Permission to replace one owner marker."""

    namespace: NamespaceName
    """The namespace that takes the prefix over."""

    from_owner: Annotated[str, Field(min_length=3, max_length=256, pattern=r"^[^/\s]+/[^/\s]+$")]
    """The owner to be replaced, `<cluster>/<namespaceUid>` as the condition's message prints it."""


class SelectorRequirement(ApiModel):
    """As metav1.LabelSelectorRequirement."""

    key: LabelKey
    """Label."""

    operator: SelectorOperator
    """Relation between the label and the values."""

    values: Annotated[tuple[LabelValue, ...], Field(max_length=64)] = ()
    """For In and NotIn at least one, else none."""

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if (self.operator in {SelectorOperator.IN, SelectorOperator.NOT_IN}) != bool(self.values):
            raise ValueError("In and NotIn need values, Exists and DoesNotExist have none")
        return self


class LabelSelector(ApiModel):
    """As metav1.LabelSelector: everything must hold; an empty one matches every namespace."""

    match_labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    """Labels with exactly these values."""

    match_expressions: Annotated[tuple[SelectorRequirement, ...], Field(max_length=32)] = ()
    """Further requirements."""


class AllowedNamespaces(ApiModel):
    """The bucket's consent (rule 5)."""

    from_: Annotated[FromNamespaces, Field(alias="from")] = FromNamespaces.SAME
    """Same: the bucket object's own; All; Selector: those whose labels match."""

    selector: LabelSelector | None = None
    """For `from: Selector`."""

    @model_validator(mode="after")
    def _check_selector(self) -> Self:
        if (self.from_ is FromNamespaces.SELECTOR) != (self.selector is not None):
            raise ValueError("selector goes with from: Selector, and only with it")
        return self


class Listing(ApiModel):
    """How the bucket is looked through."""

    interval: Interval = timedelta(minutes=10)
    """Time between two looks."""

    import_: Annotated[ImportMode, Field(alias="import")] = ImportMode.NEVER
    """Which datasets found become DtoolDatasets."""

    import_limit: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """At most so many imported objects."""


class PerNamespaceLimits(ApiModel):
    """What one namespace may keep in the bucket; absent: no limit."""

    datasets: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """Datasets described by DtoolDatasets."""

    size_bytes: Annotated[int, Field(ge=0, le=2**60)] | None = None
    """Bytes of their items together."""


class Limits(ApiModel):
    """What the operator may load the bucket with."""

    concurrent_transfers: Annotated[int, Field(ge=1, le=256)] = 4
    """Datasets copied at one time."""

    concurrent_requests: Annotated[int, Field(ge=1, le=1024)] = 64
    """Requests in flight at one time."""

    per_namespace: PerNamespaceLimits = PerNamespaceLimits()
    """Quota of each namespace."""


class DtoolBucketSpec(ApiModel):
    """What the administrator, or a team for itself, asks for."""

    bucket: Annotated[
        str, Field(min_length=3, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]$")
    ]
    """Name of the S3 bucket. Immutable."""

    endpoint: Annotated[str, Field(min_length=8, max_length=512), AfterValidator(_check_endpoint)] | None = (
        None
    )
    """URL of the S3 endpoint without a path; absent: AWS."""

    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Region to sign for."""

    addressing: Addressing = Addressing.AUTO
    """Auto: Virtual for AWS, Path for other endpoints."""

    ca_bundle: CaBundle | None = None
    """Certificates to trust for the endpoint; absent: the public ones."""

    credentials: Credentials | None = None
    """Access keys; absent: the operator's own (ambient) identity."""

    encryption: Encryption | None = None
    """Server-side encryption; absent: the bucket's default."""

    conditional_writes: ConditionalWrites = ConditionalWrites.REQUIRED
    """Whether the store must honour conditional writes."""

    prefix_template: PrefixTemplate = "u/{namespace}/"
    """From it the prefix of each namespace is derived. Immutable."""

    prefix_overrides: Annotated[tuple[PrefixOverride, ...], Field(max_length=1000)] = ()
    """Namespaces with another prefix than the derived one."""

    acknowledged_prefixes: Annotated[tuple[Prefix, ...], Field(max_length=256)] = ()
    """Where datasets are known to lie that belong to no namespace: counted, no violation."""

    take_over: Annotated[tuple[TakeOver, ...], Field(max_length=64)] = ()
    """Owner markers that may be replaced (rule 4)."""

    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    """Namespaces that may keep datasets here."""

    read_access: ReadAccess = ReadAccess.PREFIX
    """What admitted namespaces may read."""

    access_mode: AccessMode = AccessMode.READ_WRITE
    """Whether the operator writes to the bucket."""

    listing: Listing = Listing()
    """How the bucket is looked through."""

    limits: Limits = Limits()
    """What the operator may load the bucket with."""

    workers: Workers | None = None
    """The Pods of Jobs that move data of this bucket; for administrators' buckets."""

    suspend: bool = False
    """True: nothing new is started with this bucket."""

    @cached_property
    def override_by_namespace(self) -> Mapping[str, str]:
        """`prefixOverrides` as a mapping."""
        return {entry.namespace: entry.prefix for entry in self.prefix_overrides}

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        for field, entries in (("prefixOverrides", self.prefix_overrides), ("takeOver", self.take_over)):
            if len({entry.namespace for entry in entries}) < len(entries):
                raise ValueError(f"{field} names a namespace twice")
        return self

    @model_validator(mode="after")
    def _check_template(self) -> Self:
        shared = self.allowed_namespaces.from_ is not FromNamespaces.SAME
        if shared and NAMESPACE_PLACEHOLDER not in self.prefix_template:
            raise ValueError("prefixTemplate must contain {namespace} where other namespaces are admitted")
        return self


@dataclass(frozen=True, slots=True)
class DtoolBucket(ApiObject):
    """One object, parsed."""

    spec: DtoolBucketSpec
    status: DtoolBucketStatus


def parse_bucket(body: Mapping[str, Any]) -> DtoolBucket:
    """Parse an object of the API server; raise InvalidObject, naming the field, if its spec is not valid."""
    meta = parse_metadata(body)
    return DtoolBucket(meta, parse_spec(DtoolBucketSpec, meta, body), parse_status(DtoolBucketStatus, body))
