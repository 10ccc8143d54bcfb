"""`kubectl dtool …`: the command line of the plugin `kubectl-dtool`.

Owns arguments and exit codes: 0 done, 1 refused or failed, 2 called wrongly.
"""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from dtool_operator.cli.failure import CommandFailed
from dtool_operator.cli.kubectl import Kubectl
from dtool_operator.cli.policy import add_policy, run_policy

EXIT_OK = 0
EXIT_FAILED = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; argparse ends the process with 2 itself."""
    parsed = _build_parser().parse_args(arguments)
    given = {"context": parsed.context, "kubeconfig": parsed.kubeconfig}
    kubectl = Kubectl([f"--{name}={value}" for name, value in given.items() if value is not None])
    try:
        run_policy(parsed, kubectl, sys.stdout, sys.stderr)
    except CommandFailed as error:
        sys.stderr.write(f"kubectl-dtool: {error}\n")
        return EXIT_FAILED
    return EXIT_OK


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubectl dtool", description="dtool datasets in S3 for Kubernetes.")
    version = importlib.metadata.version("dtool-operator")
    parser.add_argument("--version", action="version", version=f"kubectl-dtool {version}")
    # after the command's name: kubectl takes no options in front of a plugin's
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument(
        "--context", metavar="NAME", help="context of the kubeconfig; default: the present one"
    )
    cluster.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig; default: kubectl's own")
    add_policy(parser.add_subparsers(dest="command", required=True), cluster)
    return parser
