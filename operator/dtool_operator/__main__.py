"""The command line of the one image: `run` (the operator), `transfer` (a worker), and administrators' tools.

Imports what a command needs when it runs: a worker starts without kopf and the Kubernetes client, and an
installation without the extra `operator` is told of in one line.
"""

import argparse
import asyncio
import importlib.metadata
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dtool_operator.cli.failure import describe_missing
from dtool_operator.errors import OperatorError

if TYPE_CHECKING:
    from dtool_operator.planning.manifests import WorkerSettings
    from dtool_operator.settings import Settings

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2

_COMMAND_TIMEOUT_SECONDS = 10.0

_RECURSION_LIMIT = 50_000
"""Room for JSON of 10,000 levels, which the API server stores. With Python's 1,000 one such object would end
the watch, and the operator with it, for everybody. Far below what a thread's stack holds."""

_LOG = logging.getLogger("dtool_operator")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 failed, 2 called wrongly (`transfer`: its own)."""
    try:
        return _perform(arguments)
    except ModuleNotFoundError as error:
        print(f"dtool-operator: {describe_missing(error)}", file=sys.stderr)
        return EXIT_FAILED


def _perform(arguments: Sequence[str] | None) -> int:
    parsed = _build_parser().parse_args(arguments)
    if parsed.command == "transfer":
        from dtool_operator.transfers.worker import run_transfer  # noqa: PLC0415
        from dtool_operator.transfers.zygote import keep_memory_private  # noqa: PLC0415

        keep_memory_private()
        return run_transfer(parsed.task_file, output=sys.stdout)
    sys.setrecursionlimit(_RECURSION_LIMIT)
    if parsed.command == "release-finalizers":
        return asyncio.run(_release_finalizers(parsed.namespace, is_dry_run=not parsed.yes))
    if parsed.command == "check":
        return asyncio.run(_check(os.environ, vars(parsed), as_json=parsed.output == "json"))
    return _run(os.environ, vars(parsed))


def _build_parser() -> argparse.ArgumentParser:
    from dtool_operator.settings import add_flags  # noqa: PLC0415

    parser = argparse.ArgumentParser(
        prog="dtool-operator", description="dtool datasets in S3 for Kubernetes."
    )
    version = importlib.metadata.version("dtool-operator")
    parser.add_argument("--version", action="version", version=f"dtool-operator {version}")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="run the operator",
        description="Run the operator on the cluster of KUBECONFIG or, in a Pod, on its own. Each flag can "
        "be given as the variable in brackets.",
    )
    add_flags(run)
    _add_check(commands)
    _add_release(commands)
    transfer = commands.add_parser(
        "transfer", help="do the work of one task document and tell of it on standard output, in JSON lines"
    )
    transfer.add_argument("task_file", type=Path, metavar="TASK_FILE")
    return parser


def _add_check(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    from dtool_operator.settings import add_flags  # noqa: PLC0415

    check = commands.add_parser(
        "check",
        help="check whether the operator could work here",
        description="Check settings, state directory, API server, CRDs, rights, Lease and S3 endpoints as "
        "the operator with these settings would find them: in its Pod, or as whoever KUBECONFIG names. "
        "Changes nothing. Exit code 0: all is well; 1: something is not.",
    )
    check.add_argument("--output", choices=("text", "json"), default="text", help="form of the answer")
    add_flags(check)


def _add_release(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    release = commands.add_parser(
        "release-finalizers",
        help="for uninstalling: take the operator's finalizer off all DtoolDatasets",
        description="Take the operator's finalizer off all DtoolDatasets, so that they can be deleted "
        "without it. Stop the operator first. The data of unfinished copies, and of deleted objects with "
        "deletionPolicy Delete, stay in the buckets.",
    )
    release.add_argument("--namespace", metavar="NAMESPACE", help="only this one; default: all")
    release.add_argument("--yes", action="store_true", help="do it; without, only list what would be done")


def _run(environment: Mapping[str, str], flags: Mapping[str, str | None]) -> int:
    from dtool_operator.logs import configure_logs  # noqa: PLC0415
    from dtool_operator.reconcile.worker_settings import read_worker_settings  # noqa: PLC0415
    from dtool_operator.settings import InvalidSetting, read_settings  # noqa: PLC0415
    from dtool_operator.transfers.zygote import keep_memory_private  # noqa: PLC0415

    keep_memory_private()
    try:
        settings = read_settings(environment, flags)
        worker = read_worker_settings(settings)
    except InvalidSetting as error:
        print(f"dtool-operator: {error}", file=sys.stderr)
        return EXIT_USAGE
    configure_logs(settings.log_level)
    try:
        asyncio.run(_run_operator(settings, worker))
    except (OperatorError, OSError) as error:
        _LOG.error("operator_failed", extra={"why": str(error)})
        return EXIT_FAILED
    except Exception:  # noqa: BLE001 - the entry point: whatever kopf ends with is logged, and ends the process
        _LOG.exception("operator_failed")
        return EXIT_FAILED
    _LOG.info("operator_stopped")
    return EXIT_OK


async def _run_operator(settings: "Settings", worker: "WorkerSettings | None") -> None:
    from dtool_operator.adapters.cluster import KubernetesCluster  # noqa: PLC0415
    from dtool_operator.adapters.connection import Connection  # noqa: PLC0415
    from dtool_operator.handlers.app import OperatorProcess  # noqa: PLC0415
    from dtool_operator.handlers.leadership import build_leadership  # noqa: PLC0415
    from dtool_operator.metrics import Metrics  # noqa: PLC0415
    from dtool_operator.reconcile.build import build_operator  # noqa: PLC0415
    from dtool_operator.reconcile.job_service import JobService  # noqa: PLC0415

    metrics = Metrics()
    connection = Connection(writes_per_second=settings.api_writes_per_second, observer=metrics)
    cluster = KubernetesCluster(
        connection, operator_namespace=settings.namespace, service_account=settings.service_account
    )
    jobs = JobService(settings, worker, connection)
    operator = build_operator(settings, cluster, metrics=metrics, jobs=jobs)
    leadership = build_leadership(settings)
    await OperatorProcess(settings, cluster, operator, metrics=metrics, leadership=leadership).run()


async def _check(environment: Mapping[str, str], flags: Mapping[str, str | None], *, as_json: bool) -> int:
    from dtool_operator.adapters.connection import Connection  # noqa: PLC0415
    from dtool_operator.commands.check import run_checks  # noqa: PLC0415
    from dtool_operator.commands.finding import Finding, format_findings, is_ok  # noqa: PLC0415
    from dtool_operator.settings import InvalidSetting, read_settings  # noqa: PLC0415

    try:
        settings = read_settings(environment, flags)
    except InvalidSetting as error:
        findings = [Finding("settings", ok=False, message=str(error), advice="nothing else was checked")]
    else:
        connection = Connection(timeout_seconds=_COMMAND_TIMEOUT_SECONDS, environment=environment)
        try:
            findings = await run_checks(settings, connection)
        finally:
            await connection.close()
    print(format_findings(findings, as_json=as_json))
    return EXIT_OK if is_ok(findings) else EXIT_FAILED


async def _release_finalizers(namespace: str | None, *, is_dry_run: bool) -> int:
    from dtool_operator.adapters.connection import Connection  # noqa: PLC0415
    from dtool_operator.commands.finalizers import release_finalizers  # noqa: PLC0415

    connection = Connection(timeout_seconds=_COMMAND_TIMEOUT_SECONDS)
    try:
        done = await release_finalizers(connection, namespace=namespace, is_dry_run=is_dry_run, say=print)
    except OperatorError as error:
        print(f"dtool-operator: {error}", file=sys.stderr)
        return EXIT_FAILED
    finally:
        await connection.close()
    if is_dry_run:
        print(f"{done.found} DtoolDatasets have the finalizer; --yes takes it off")
        return EXIT_OK
    print(f"released {done.released} of {done.found} DtoolDatasets")
    return EXIT_OK if done.released == done.found else EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
