"""`python -m sandbox`: the sandbox from the command line; owns arguments and exit codes alone."""

import argparse
import sys
from pathlib import Path

from sandbox.binaries import find_binaries
from sandbox.cluster.machine import check_machine
from sandbox.cluster.session import bring_down_cluster, bring_up_cluster, load_image
from sandbox.errors import SandboxError
from sandbox.say import say_at_once
from sandbox.session import bring_down, bring_up, bring_up_operator, describe, is_whole

COMMANDS = {
    "build": "build the control plane, if it is not in the cache yet",
    "up": "start everything, and print what to export",
    "operator": "start the operator again, if it is not running",
    "status": "list the processes; exits 1 unless all run",
    "down": "end everything and remove the directory",
    "cluster": "start a cluster with a real node, and S3; needs Linux and root",
    "cluster-check": "say whether a cluster with a real node can run here",
    "cluster-image": "load an image, as an OCI archive, into the cluster's node",
    "cluster-down": "end the cluster and remove its directory",
}
NEXT = """kubectl get nodes
helm install dtool-operator charts/dtool-operator --namespace dtool-system --create-namespace \\
    --values sandbox/story/cluster-values.yaml --wait
"""


def main() -> int:
    """Run one command; errors are one line, without a traceback."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, purpose in COMMANDS.items():
        command = commands.add_parser(name, help=purpose)
        default = Path(".cluster" if name.startswith("cluster") else ".sandbox")
        command.add_argument("--directory", type=Path, default=default, help="default: %(default)s")
        if name == "cluster-image":
            command.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    try:
        return _run(arguments, arguments.directory.resolve())
    except SandboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _run(arguments: argparse.Namespace, directory: Path) -> int:
    match arguments.command:
        case "build":
            find_binaries()
        case "up":
            sandbox = bring_up(directory)
            say_at_once(
                f"\nThese lines are in {directory / 'env'} too, to be sourced:\n\n{sandbox.exports()}"
            )
            say_at_once("`make sandbox-down` ends it; the README has a story to play.")
        case "operator":
            bring_up_operator(directory)
        case "status":
            say_at_once(describe(directory))
            return 0 if is_whole(directory) else 1
        case "cluster":
            check_machine()
            session = bring_up_cluster(directory)
            say_at_once(
                f"\nThese lines are in {directory / 'env'} too, to be sourced:\n\n{session.exports()}\n{NEXT}"
            )
            say_at_once("The README has a story to play; `make cluster-down` ends the cluster.")
        case "cluster-check":
            check_machine()
        case "cluster-image":
            load_image(directory, arguments.archive)
        case "cluster-down":
            bring_down_cluster(directory)
        case _:
            bring_down(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
