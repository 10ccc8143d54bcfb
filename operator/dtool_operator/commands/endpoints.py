"""Whether the S3 endpoints of all DtoolBuckets can be reached from here; no keys, nothing read or written.

An endpoint that is not allowed (rule 2) is not asked: a check must not become a way into a network.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

import aiohttp

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.api.bucket import DtoolBucket
from dtool_operator.commands.finding import Finding
from dtool_operator.errors import OperatorError
from dtool_operator.planning.bucket_spec import allowed_endpoints
from dtool_operator.planning.observed import ClusterView, Policy
from dtool_operator.planning.prefix_policy import endpoint_key

_TIMEOUT_SECONDS: Final = 10.0
_AT_ONCE: Final = 8
_AWS_REGION: Final = "us-east-1"


async def check_endpoints(cluster: Cluster, buckets: Sequence[DtoolBucket], policy: Policy) -> list[Finding]:
    """Ask each endpoint once for each CA bundle that a bucket object gives for it."""
    view = ClusterView("", tuple(buckets), {})
    allowed = allowed_endpoints(view, policy)
    turns = asyncio.Semaphore(_AT_ONCE)
    groups: dict[tuple[str, object], list[DtoolBucket]] = {}
    for bucket in buckets:
        ca = bucket.spec.ca_bundle
        place = None if ca is None else (bucket.namespace, ca.config_map_key_ref)
        groups.setdefault((_url(bucket), place), []).append(bucket)

    async def check(group: Sequence[DtoolBucket]) -> Finding:
        if endpoint_key(group[0].spec) not in allowed:
            advice = "extend DTOOL_OPERATOR_ALLOWED_ENDPOINTS, or change the bucket objects"
            return _build(group, "is not allowed, and was not asked", advice)
        async with turns:
            return await _ask(cluster, group)

    return list(await asyncio.gather(*map(check, groups.values())))


async def _ask(cluster: Cluster, group: Sequence[DtoolBucket]) -> Finding:
    bucket = group[0]
    try:
        context = await _build_trust(cluster, bucket)
    except OperatorError as error:
        return _build(group, f"was not asked: {error.message}", "see spec.caBundle")
    except ssl.SSLError:
        return _build(group, "was not asked: its CA bundle holds no certificates", "see spec.caBundle")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            session.get(_url(bucket), ssl=context, allow_redirects=False) as answer,
        ):
            return _build(group, f"answers (HTTP {answer.status})")
    except aiohttp.ClientConnectorCertificateError:
        return _build(group, "has a certificate that is not trusted", "give its CA in spec.caBundle")
    except TimeoutError:
        return _build(group, f"did not answer within {_TIMEOUT_SECONDS:.0f} s", "see network policies")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        advice = "see spec.endpoint, DNS and network policies"
        return _build(group, f"cannot be reached: {type(error).__name__} {error}", advice)


async def _build_trust(cluster: Cluster, bucket: DtoolBucket) -> ssl.SSLContext:
    if bucket.spec.ca_bundle is None:
        return ssl.create_default_context()
    ref = bucket.spec.ca_bundle.config_map_key_ref
    found = await cluster.read_config_map(bucket.namespace, ref.name)
    if ref.key not in found.data:
        message = f"ConfigMap {bucket.namespace}/{ref.name} has no key {ref.key}"
        raise OperatorError("CABundleInvalid", message)
    return ssl.create_default_context(cadata=found.data[ref.key])


def _url(bucket: DtoolBucket) -> str:
    return bucket.spec.endpoint or f"https://s3.{bucket.spec.region or _AWS_REGION}.amazonaws.com"


def _build(group: Sequence[DtoolBucket], what: str, advice: str = "") -> Finding:
    names = ", ".join(sorted(f"{bucket.namespace}/{bucket.meta.name}" for bucket in group[:3]))
    more = f" and {len(group) - 3} more" if len(group) > 3 else ""
    message = f"{_url(group[0])} {what} (DtoolBuckets {names}{more})"
    return Finding("endpoint", ok=not advice, message=message, advice=advice)
