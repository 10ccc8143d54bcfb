"""How a task and public certificates travel to a Pod: in its environment; pure, writer and reader.

No secret ever does. A variable of a process holds 128 KiB (Linux, MAX_ARG_STRLEN), so long texts are spread
over several: NAME, NAME_1, NAME_2. The kubelet expands `$(NAME)` and `$$` in values, so `$` is doubled.
"""

from collections.abc import Mapping
from typing import Final

TASK_VARIABLE: Final = "DTOOL_TASK"
TARGET_CA_VARIABLE: Final = "DTOOL_TARGET_CA"
SOURCE_CA_VARIABLE: Final = "DTOOL_SOURCE_CA"
#: In place of the public certificates, for whatever has none of its own.
TRUSTED_CA_VARIABLE: Final = "DTOOL_TRUSTED_CA"
RESERVED_PREFIX: Final = "DTOOL_"

#: Of one variable: four bytes each at most, and still less than 128 KiB.
_PART_CHARACTERS: Final = 25_000
#: Of one text: etcd takes objects of 1.5 MB.
MAX_CHARACTERS: Final = 400_000


def spread(name: str, text: str) -> list[dict[str, str]]:
    """Return the `env` entries that bring a text to a container.

    Raises ValueError, which names the variable, for a text that is too long.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"{name} has {len(text)} characters, a Pod can be given {MAX_CHARACTERS}")
    parts = [text[at : at + _PART_CHARACTERS] for at in range(0, len(text), _PART_CHARACTERS)] or [""]
    return [
        {"name": name if number == 0 else f"{name}_{number}", "value": part.replace("$", "$$")}
        for number, part in enumerate(parts)
    ]


def gather(environment: Mapping[str, str], name: str) -> str | None:
    """Return a text that was spread; None: there is none."""
    if name not in environment:
        return None
    parts, number = [environment[name]], 1
    while (part := environment.get(f"{name}_{number}")) is not None:
        parts.append(part)
        number += 1
    return "".join(parts)
