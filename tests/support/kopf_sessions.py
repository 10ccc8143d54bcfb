"""What kopf leaves behind in a process that goes on: sessions of logins that ran out, closed by nobody.

In the operator the garbage collector closes them; here it would blame whichever test runs then.
"""

import gc
import warnings
from collections.abc import Iterator

import pytest

#: For modules that run kopf inside the tests' process.
IGNORED = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@pytest.fixture(autouse=True)
def kopfs_sessions() -> Iterator[None]:
    """Collect them at the end of the test that made them."""
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "unclosed", ResourceWarning)
        gc.collect()
