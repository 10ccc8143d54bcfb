"""The command line of `dtool-s3`: commands, options and their help; pure, loads nothing but argparse.

Which function performs a command is a text here (`module:function`), so that `--help` answers at once.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtool_s3 import __version__
from dtool_s3.console.exit_code import MEANINGS
from dtool_s3.uri import is_uuid

#: S3's limit for URLs signed with Signature Version 4.
_MAX_SIGNED_SECONDS = 7 * 24 * 3600
_DESCRIPTION = "dtool datasets in S3: copied on the server, verified, repaired."
_EPILOG_HEAD = """\
Datasets are s3://BUCKET/UUID, buckets s3://BUCKET; where a dataset may lie on disk, file://PATH too.
With --json every result is one line of JSON on stdout (ls: one a dataset), with snake_case names, sizes in
bytes and times in seconds since 1970; an error is {"error": {"reason", "message", "hint", "exit_code",
"retryable"}}.

exit codes:
"""


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse a command line; leaves the process as argparse does for --help, --version and mistakes."""
    return build_parser().parse_args(argv)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    codes = "".join(f"  {code.value:>3}  {meaning}\n" for code, meaning in MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="dtool-s3",
        description=_DESCRIPTION,
        epilog=_EPILOG_HEAD + codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(json=False, quiet=False, config=None, concurrency=None, traceback=False, question="")
    parser.add_argument("--version", action="version", version=f"dtool-s3 {__version__}")
    _add_common(parser)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_transfer, _catalog, _dataset, _repair, _ingestion, _publication, _doctor):
        add(commands)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that may stand before and after the command; absent ones leave no trace."""
    common = parser.add_argument_group("options of all commands")

    def add(*names: str, **settings: Any) -> None:
        common.add_argument(*names, default=argparse.SUPPRESS, **settings)

    add("--json", action="store_true", help="results and errors as JSON on stdout")
    add("--quiet", "-q", action="store_true", help="no progress and no notes")
    add("--concurrency", type=_count, metavar="N", help="items in flight at a time")
    add("--config", type=_file, metavar="PATH", help="in place of ~/.config/dtool/dtool.json")
    add("--traceback", action="store_true", help=argparse.SUPPRESS)


_Commands = Any  # argparse's class for this is private


def _command(
    commands: _Commands, name: str, perform: str, text: str, *, also: Callable[..., None] | None = None
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    _add_common(parser)
    parser.set_defaults(perform=perform)
    if also is not None:
        also(parser)
    return parser


def _transfer(commands: _Commands) -> None:
    copy = _command(
        commands,
        "cp",
        "dtool_s3.console.transfer:copy",
        "Copy a frozen dataset; prints its new URI as the last line. Interrupted, it goes on: call it again.",
    )
    copy.add_argument("source_uri", metavar="SOURCE_URI", help="s3://BUCKET/UUID, file://PATH or a directory")
    copy.add_argument("base_uri", metavar="BASE_URI", help="s3://BUCKET or file://DIRECTORY")
    verify = _command(
        commands,
        "verify",
        "dtool_s3.console.transfer:verify",
        "Compare a frozen dataset with its manifest: by one listing, or by reading every byte.",
    )
    _add_uri(verify)
    verify.add_argument("--method", choices=("listing", "content"), default="listing")


def _catalog(commands: _Commands) -> None:
    listing = _command(
        commands, "ls", "dtool_s3.console.catalog:show", "List the datasets of a bucket, broken ones too."
    )
    listing.add_argument("base_uri", metavar="BASE_URI", help="s3://BUCKET")
    listing.add_argument(
        "--prefix",
        action="append",
        default=[],
        metavar="P",
        help="look for unregistered datasets here too, beside the configured prefix; may be repeated",
    )


def _dataset(commands: _Commands) -> None:
    freeze = _command(commands, "freeze", "dtool_s3.console.dataset:freeze", "Freeze a proto dataset.")
    _add_uri(freeze)
    freeze.add_argument(
        "--remove-extra", action="store_true", help="remove keys among the items that dtool did not write"
    )
    remove = _command(
        commands,
        "rm",
        "dtool_s3.console.dataset:remove",
        "Remove a dataset, frozen ones too; goes on where an interrupted removal was.",
    )
    _add_uri(remove)
    remove.add_argument("--yes", "-y", action="store_true", help="do not ask")
    remove.add_argument("--only-proto", action="store_true", help="refuse a frozen dataset")
    remove.set_defaults(question="Remove {uri} with all its items, for good?")


def _repair(commands: _Commands) -> None:
    register = _command(
        commands,
        "register",
        "dtool_s3.console.repair:register",
        "Write the lost registration key of a dataset that lies under a prefix; a right one stays.",
    )
    _add_uri(register)
    register.add_argument("--prefix", required=True, metavar="P", help="where it lies, such as u/olssont/")
    abort = _command(
        commands,
        "abort-uploads",
        "dtool_s3.console.repair:abort_uploads",
        "Abort unfinished uploads of a dataset, whose parts cost storage; those under way fail by it.",
    )
    _add_uri(abort)


def _ingestion(commands: _Commands) -> None:
    ingest = _command(
        commands,
        "ingest",
        "dtool_s3.console.ingestion:ingest",
        "Make a frozen dataset of plain objects, without downloading them; prints its URI as the last line.",
    )
    ingest.add_argument("prefix_uri", metavar="PREFIX_URI", help="s3://BUCKET/some/prefix/")
    ingest.add_argument("base_uri", metavar="BASE_URI", help="s3://BUCKET")
    ingest.add_argument("--name", required=True, help="name of the new dataset")
    ingest.add_argument("--readme", type=_file, metavar="PATH", help="a file that becomes README.yml")
    ingest.add_argument(
        "--skip-markers", action="store_true", help="leave out the empty keys that consoles make for folders"
    )
    ingest.add_argument("--uuid", type=_uuid, help="that of an interrupted run, to go on with")


def _publication(commands: _Commands) -> None:
    publish = _command(
        commands,
        "publish",
        "dtool_s3.console.publication:publish",
        "Make a frozen dataset readable for everybody who has the URL, which is printed once it answers.",
    )
    _add_uri(publish)
    publish.add_argument(
        "--expires-seconds",
        type=_seconds,
        metavar="S",
        help="sign URLs that are valid so long, at most 7 days (DTOOL_S3_PUBLISH_EXPIRY; else for good)",
    )
    withdraw = _command(
        commands, "unpublish", "dtool_s3.console.publication:unpublish", "Take a publication back."
    )
    _add_uri(withdraw)


def _doctor(commands: _Commands) -> None:
    doctor = _command(
        commands,
        "doctor",
        "dtool_s3.console.doctor:examine",
        "Try everything that datasets need of a bucket, and say what to do about what fails.",
    )
    doctor.add_argument("base_uri", metavar="BASE_URI", help="s3://BUCKET")


def _add_uri(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("uri", metavar="URI", help="s3://BUCKET/UUID")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1024")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= _MAX_SIGNED_SECONDS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds up to 7 days")
    return int(text)


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no UUID in lower case")
    return text


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return path
