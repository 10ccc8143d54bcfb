"""Names a few of many in a message; pure. What is named is somebody else's text: shortened and quoted."""

from collections.abc import Sequence

_NAMES_SHOWN = 5
_CHARACTERS_SHOWN = 120


def name_few(names: Sequence[str]) -> str:
    """Quote up to five names, with the count of the others."""
    shown = ", ".join(repr(name[:_CHARACTERS_SHOWN]) for name in names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
