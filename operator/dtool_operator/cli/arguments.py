"""The command line of `kubectl dtool`: every command and option, and which function performs it.

Imports nothing heavy: help, completion and mistakes are answered at once.
"""

import argparse
from collections.abc import Callable
from typing import Any, Final

from dtool_operator.cli.failure import MEANINGS
from dtool_operator.cli.output import Format
from dtool_operator.cli.parser import Parser, Version, one_of, parse_seconds
from dtool_operator.cli.view import Goal

Commands = Any  # argparse's own type of subparsers is not public

SOURCES: Final = """
sources:
  s3://BUCKET/UUID              a dataset in a bucket that a DtoolBucket describes
  https://HOST/.../UUID         a dataset that dtool published
  dataset/[NAMESPACE/]NAME      another DtoolDataset
  stored/NAMESPACE/BUCKET/UUID  a dataset in the bucket of this DtoolBucket
  objects/NAMESPACE/BUCKET/PREFIX/   plain S3 objects become a new dataset
  volume/CLAIM/PATH             the files below a directory of a volume become a new dataset
  volume/CLAIM/PATH:Dataset     a dataset directory that dtool wrote to a volume
"""

#: Those of `planning.s3_policy`, which takes 200 ms to load; a test compares them.
POLICY_FORMATS: Final = ("aws", "minio", "seaweedfs", "seaweedfs-actions")


def build_parser() -> argparse.ArgumentParser:
    """Build the whole command line."""
    parser = Parser(
        prog="kubectl dtool",
        description="dtool datasets in S3 for Kubernetes. Works with your kubectl, its contexts and rights.",
        epilog="exit codes:\n" + "\n".join(f"  {code:>3}  {text}" for code, text in MEANINGS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=Version, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in _ADDERS:
        add(commands)
    return parser


def _add(
    commands: Commands, name: str, perform: str, help_: str, *, about: str = "", epilog: str = ""
) -> argparse.ArgumentParser:
    """Add a command with the options that choose a cluster and a user; kubectl takes none before its name."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help_,
        description=about or f"{help_[0].upper()}{help_[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.set_defaults(perform=f"dtool_operator.cli.{perform}")
    cluster = parser.add_argument_group("cluster, as for kubectl")
    cluster.add_argument("--context", metavar="NAME", help="context of the kubeconfig")
    cluster.add_argument("--kubeconfig", metavar="FILE", help="kubeconfig; default: kubectl's own")
    cluster.add_argument("--cluster", metavar="NAME", help="cluster of the kubeconfig")
    cluster.add_argument("--user", metavar="NAME", help="user of the kubeconfig")
    cluster.add_argument("--as", dest="as_", metavar="USER", help="act as another user")
    return parser


def _add_namespace(parser: argparse.ArgumentParser, *, everywhere: bool = False) -> None:
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-n", "--namespace", metavar="NS", help="namespace; default: the context's")
    if everywhere:
        group.add_argument("-A", "--all-namespaces", action="store_true", help="all namespaces")


def _add_output(parser: argparse.ArgumentParser, *formats: Format) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=one_of(formats),
        choices=formats,
        default=formats[0],
        metavar="FORMAT",
        help=f"{', '.join(formats)}; default: {formats[0]}",
    )


def _add_wait(parser: argparse.ArgumentParser, help_: str) -> None:
    parser.add_argument("--wait", action="store_true", help=help_)
    _add_timeout(parser)


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=parse_seconds,
        metavar="TIME",
        help="how long to wait: 90s, 10m, 2h; default: for ever",
    )


def _add_ls(commands: Commands) -> None:
    about = "List DtoolDatasets. With a UUID: every place of that dataset that you may see."
    parser = _add(commands, "ls", "ls:run_ls", "list datasets, or all places of one", about=about)
    parser.add_argument("uuid", metavar="UUID", nargs="?", help="show all places of this dataset")
    _add_namespace(parser, everywhere=True)
    parser.add_argument("--state", action="append", metavar="STATE", help="Frozen, Copying, ...; may repeat")
    parser.add_argument("--bucket", metavar="[NS/]NAME", help="those that this DtoolBucket keeps")
    parser.add_argument("--tag", action="append", metavar="TAG", help="those with this tag; may repeat: all")
    parser.add_argument(
        "--name", metavar="PATTERN", help="name of object or dataset, `*` stands for any text"
    )
    parser.add_argument("--imported", action="store_true", help="those that the operator imported")
    _add_output(parser, *Format)


def _add_status(commands: Commands) -> None:
    parser = _add(commands, "status", "status:run_status", "show how datasets are, and how far")
    parser.add_argument("names", metavar="NAME", nargs="*", help="DtoolDatasets; default: all")
    _add_namespace(parser, everywhere=True)
    parser.add_argument("-w", "--watch", action="store_true", help="go on showing, with bars at a terminal")
    parser.add_argument(
        "--for",
        dest="goal",
        type=one_of(Goal),
        choices=list(Goal),
        metavar="GOAL",
        help=f"watch until all are {', '.join(Goal)}, or one cannot be (exit code 3)",
    )
    _add_timeout(parser)
    _add_output(parser, Format.TABLE, Format.JSON, Format.YAML)


def _add_cp(commands: Commands) -> None:
    about = "Copy a dataset, or make one: write a DtoolDataset and apply it. The operator does the rest."
    parser = _add(commands, "cp", "cp:run_cp", "copy or create a dataset", about=about, epilog=SOURCES)
    parser.add_argument("source", metavar="SOURCE", help="what to copy, in one of the forms below")
    _add_namespace(parser)
    to = parser.add_mutually_exclusive_group(required=True)
    to.add_argument("--to-bucket", metavar="[NS/]NAME", help="DtoolBucket that shall keep it")
    to.add_argument("--to-volume", metavar="CLAIM[:PATH]", help="volume that shall hold it")
    parser.add_argument("--name", metavar="NAME", help="name of the DtoolDataset; default: from the source")
    parser.add_argument("--dataset-name", metavar="NAME", help="name of a new dataset; default: --name")
    parser.add_argument(
        "--new-identity", action="store_true", help="a derived dataset with a UUID of its own"
    )
    parser.add_argument("--tag", action="append", default=[], metavar="TAG", help="tag to set; may repeat")
    parser.add_argument("--dry-run", action="store_true", help="print the manifest, apply nothing")
    _add_wait(parser, "wait until it is Ready")
    _add_output(parser, Format.NAME, Format.TABLE, Format.JSON, Format.YAML)


def _add_verify(commands: Commands) -> None:
    about = "Ask for a verification now, with the method of spec.verify."
    parser = _add(commands, "verify", "verify:run_verify", "have datasets verified now", about=about)
    parser.add_argument("names", metavar="NAME", nargs="+", help="DtoolDatasets")
    _add_namespace(parser)
    _add_wait(parser, "wait for the outcome")
    _add_output(parser, Format.TABLE, Format.JSON, Format.YAML)


def _add_plan(commands: Commands) -> None:
    about = (
        "Say what the operator would do, and why: the operator's own planner, with what you may see. S3 is\n"
        "not asked; what would be asked there is shown, and what would follow if it answers as one expects."
    )
    parser = _add(commands, "plan", "plan:run_plan", "say what the operator would do, and why", about=about)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "name", metavar="NAME", nargs="?", help="DtoolDataset, or bucket/NAME for a DtoolBucket"
    )
    what.add_argument("-f", "--filename", metavar="FILE", help="manifests that are not applied yet")
    _add_namespace(parser)
    parser.add_argument(
        "--admin-namespace",
        action="append",
        metavar="NS",
        help="the operator's DTOOL_OPERATOR_ADMIN_NAMESPACES; default: dtool-system; may repeat",
    )
    _add_output(parser, Format.TABLE, Format.JSON, Format.YAML)


def _add_import(commands: Commands) -> None:
    about = (
        "Describe datasets that are in a bucket already, under your namespace's prefix: one DtoolDataset\n"
        "each. Without UUID: say how many there are that no DtoolDataset describes."
    )
    parser = _add(commands, "import", "importing:run_import", "adopt datasets that are there", about=about)
    parser.add_argument(
        "uuids", metavar="UUID", nargs="*", help="UUID or s3://BUCKET/UUID; `-` reads them, one a line"
    )
    _add_namespace(parser)
    parser.add_argument("--bucket", required=True, metavar="[NS/]NAME", help="DtoolBucket that holds them")
    parser.add_argument("--name", metavar="NAME", help="name of the DtoolDataset, for one UUID")
    parser.add_argument(
        "--all",
        dest="is_all",
        action="store_true",
        help="have the operator import all, now and later, for all namespaces: sets spec.listing.import of "
        "the DtoolBucket, which is an administrator's right",
    )
    parser.add_argument("--dry-run", action="store_true", help="print what would be applied")
    _add_wait(parser, "wait until they are Ready")
    _add_output(parser, Format.NAME, Format.TABLE, Format.JSON, Format.YAML)


def _add_policy(commands: Commands) -> None:
    about = (
        "Print an S3 policy for the users of a namespace: list and read the bucket (readAccess: Bucket) or\n"
        "the namespace's prefix, write below the prefix, write registration keys. Nothing is changed; hand\n"
        "the document to your S3 server."
    )
    parser = _add(
        commands, "policy", "policy:perform", "print the S3 policy for users of a namespace", about=about
    )
    parser.add_argument("bucket", metavar="BUCKET", help="name of the DtoolBucket")
    parser.add_argument("-n", "--namespace", required=True, metavar="NS", help="namespace the user works for")
    parser.add_argument(
        "--bucket-namespace", metavar="NS", help="namespace of the DtoolBucket; default: that of --namespace"
    )
    strict = "registration keys can be created but neither overwritten nor deleted (aws only)"
    parser.add_argument("--strict", action="store_true", help=strict)
    parser.add_argument(
        "--format",
        choices=POLICY_FORMATS,
        default=POLICY_FORMATS[0],
        help=f"language of the S3 server: {', '.join(POLICY_FORMATS)}; default: {POLICY_FORMATS[0]}",
    )
    _add_output(parser, Format.JSON, Format.YAML, Format.TABLE)


def _add_completion(commands: Commands) -> None:
    about = (
        "Print a script that completes `kubectl-dtool` and `kubectl dtool` in a shell. kubectl's own\n"
        "completion needs no script: it calls the program kubectl_complete-dtool, which is installed beside\n"
        "this one."
    )
    parser = _add(
        commands, "completion", "shell_scripts:run_completion", "print a completion script", about=about
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"], help="the shell")


_ADDERS: Final[tuple[Callable[[Commands], None], ...]] = (
    _add_ls,
    _add_status,
    _add_cp,
    _add_verify,
    _add_plan,
    _add_import,
    _add_policy,
    _add_completion,
)
