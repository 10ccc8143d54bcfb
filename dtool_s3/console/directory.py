"""Whether the directories that a command line names can be used; asks the disk before anything is done."""

import os
from pathlib import Path

from dtool_s3.copying import scheme_of


def check_directories(source_uri: str, base_uri: str) -> None:
    """Raise FileNotFoundError, with a message that names it, for a directory that is not there.

    That is the one that a copy goes to, and the working directory, where a path depends on it.
    """
    on_disk = [uri for uri in (source_uri, base_uri) if scheme_of(uri) == "file"]
    if any(not uri.startswith(("file:", "/")) for uri in on_disk):
        _check_working_directory()
    if scheme_of(base_uri) != "file":
        return
    from dtoolcore.utils import generous_parse_uri  # noqa: PLC0415 - slow to load, and needed here only

    path = Path(generous_parse_uri(base_uri).path)
    if not path.exists():
        raise FileNotFoundError(f"there is no directory {str(path)!r}: make it first")
    if not path.is_dir():
        raise FileNotFoundError(f"{str(path)!r} is no directory")


def _check_working_directory() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        where = os.environ.get("PWD", "")
        raise FileNotFoundError(
            f"the working directory {where!r} was deleted: go to one that exists, or name paths from the root"
        ) from error
