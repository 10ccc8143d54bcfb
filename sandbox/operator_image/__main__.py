"""`python -m sandbox.operator_image`: build the operator's image into `build/`, unless it is up to date."""

import sys

from sandbox.errors import SandboxError
from sandbox.operator_image.build import ensure_image


def main() -> int:
    """Build; return the exit code: 0 built or up to date, 1 not."""
    try:
        ensure_image()
    except SandboxError as error:
        print(f"make image: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
