"""The shape of prefixes and of the template they are derived from (rule 3). Meaning is `planning`'s."""

import re
from typing import Final

NAMESPACE_PLACEHOLDER: Final = "{namespace}"

PREFIX_PATTERN: Final = r"^([^/{}\x00-\x1f\x7f]+/)*$"
"""`""` or whole segments, each ending in `/`; same as in the CRDs."""

PREFIX_TEMPLATE_PATTERN: Final = r"^(([^/{}\x00-\x1f\x7f]+/)+([{]namespace[}]/([^/{}\x00-\x1f\x7f]+/)*)?)?$"
"""As PREFIX_PATTERN, where one segment, not the first, may be `{namespace}`."""

PREFIX_MAXIMUM: Final = 512
"""Characters; S3 keys end at 1024 bytes, a namespace takes 63 and a dataset's own keys about 160."""

_PREFIX = re.compile(PREFIX_PATTERN)
_TEMPLATE = re.compile(PREFIX_TEMPLATE_PATTERN)


def check_prefix(prefix: str) -> str:
    """Return the prefix, or raise ValueError with the rule it breaks."""
    return _check(prefix, _PREFIX)


def check_prefix_template(template: str) -> str:
    """Return the template, or raise ValueError with the rule it breaks."""
    return _check(template, _TEMPLATE)


def _check(text: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(text):
        placeholder = (
            " ({namespace} is a segment of its own and not the first)" if pattern is _TEMPLATE else ""
        )
        raise ValueError(f"must be '' or whole segments that each end in '/'{placeholder}")
    if any(segment in {".", ".."} for segment in text.split("/")):
        raise ValueError("must not have '.' or '..' as a segment")
    if text.startswith("dtool"):
        raise ValueError("must not start with 'dtool': registration keys live there")
    return text
