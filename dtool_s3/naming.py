"""Names: which of them dtool accepts, and how a few of many are shown in a message; pure.

What is shown is somebody else's text: shortened and quoted.
"""

import re
from collections.abc import Sequence

from dtool_s3.errors import SettingsError

_NAMES_SHOWN = 5
_CHARACTERS_SHOWN = 120
#: Source: `dtoolcore.utils.name_is_valid`, without the line feed that it lets pass at the end.
_NAME = re.compile(r"[0-9A-Za-z_.-]{1,80}")


def name_few(names: Sequence[str]) -> str:
    """Quote up to five names, with the count of the others."""
    shown = ", ".join(repr(name[:_CHARACTERS_SHOWN]) for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"


def check_name(name: str, *, of: str) -> str:
    """Return `name` if dtool accepts it for a dataset, a tag or an annotation; raise SettingsError.

    `of` says in the message what is named. `.` and `..` are refused too: servers and file systems resolve
    them, and then something else is written.
    """
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise SettingsError(
            f"{name[:80]!r} cannot be the name of {of}: it takes 1 to 80 letters, digits, '-', '_' and '.'"
        )
    return name
