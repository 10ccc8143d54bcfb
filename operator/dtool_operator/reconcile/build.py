"""Puts the operator together from its settings: the composition root of everything behind the handlers."""

from datetime import UTC, datetime

from dtool_operator.adapters.cluster import Cluster
from dtool_operator.adapters.storage import S3StoreOpener
from dtool_operator.metrics import Metrics
from dtool_operator.planning.observed import JobPolicy, Policy
from dtool_operator.planning.transfer import RequestObserver
from dtool_operator.reconcile.dataset import CrashPoint, pass_by
from dtool_operator.reconcile.job_service import JobService
from dtool_operator.reconcile.operator import Operator
from dtool_operator.settings import Settings
from dtool_operator.transfers.executor import Executor, OnChange
from dtool_operator.transfers.ledger import Ledger
from dtool_operator.transfers.process import ProcessExecutor
from dtool_operator.transfers.routing import RoutingExecutor


def build_operator(
    settings: Settings,
    cluster: Cluster,
    *,
    metrics: Metrics | None = None,
    crash_point: CrashPoint = pass_by,
    jobs: JobService | None = None,
) -> Operator:
    """Build the operator; nothing is started, and no I/O happens yet.

    `jobs` None: all work is done in child processes, what needs a Job is refused.
    `crash_point` is told the name of every action of a plan, before it and after it: tests end the process.
    """
    on_requests: RequestObserver = _ignore if metrics is None else metrics.observe_requests

    def build_executor(on_change: OnChange) -> Executor:
        ledger = Ledger(on_change, lambda: datetime.now(UTC))
        process = ProcessExecutor(settings.state_dir, ledger=ledger, on_requests=on_requests)
        job_executor = None if jobs is None else jobs.build_executor(ledger, on_requests)
        return RoutingExecutor(ledger, process=process, jobs=job_executor)

    return Operator(
        cluster=cluster,
        executor=build_executor,
        open_store=S3StoreOpener(on_requests),
        policy=build_policy(settings),
        workers=settings.reconcile_workers,
        metrics=metrics,
        jobs=jobs,
        crash_point=crash_point,
    )


def _ignore(_bucket_key: str, _operation: str, _result: str, _count: int) -> None:
    """Count nothing."""


def build_policy(settings: Settings) -> Policy:
    """Return the settings that decisions depend on."""
    return Policy(
        admin_namespaces=settings.admin_namespaces,
        allowed_endpoints=settings.allowed_endpoints,
        backoff_base=settings.backoff_base,
        backoff_cap=settings.backoff_cap,
        resync=settings.resync_interval,
        deletion_timeout=settings.deletion_timeout,
        terminating_deletion_timeout=settings.terminating_namespace_deletion_timeout,
        max_transfers=settings.max_transfers,
        allowed_http_hosts=settings.allowed_http_hosts,
        freeze_quiet_period=settings.freeze_quiet_period,
        jobs=_build_job_policy(settings),
    )


def _build_job_policy(settings: Settings) -> JobPolicy | None:
    if settings.worker_image is None:
        return None
    return JobPolicy(
        operator_namespace=settings.namespace,
        has_signing=settings.signing_url is not None,
        signing_expiry=settings.signing_expiry,
        copy_above_bytes=settings.job_above_size,
        items_per_shard=settings.items_per_shard,
        max_shards=settings.max_shards,
    )
