"""The functions of `dtool_s3.api` for code without an event loop: same names, same parameters, blocking.

Each runs its coroutine on the library's background loop, so that they work inside a running event loop too
(notebooks, servers), whose thread then waits. `on_progress` is called on a thread of the library. Ctrl-C
cancels the work, which cleans up after itself, and is raised again.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from dtool_s3 import api
from dtool_s3.blocking import run

__all__ = [
    "abort_uploads",
    "copy",
    "freeze",
    "ingest",
    "list_datasets",
    "publish",
    "register",
    "remove",
    "unpublish",
    "verify",
]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _blocking(
    function: Callable[_Parameters, Coroutine[Any, Any, _Result]],
) -> Callable[_Parameters, _Result]:
    """Make the blocking form of a coroutine function; name, signature and docstring are those of it."""

    @functools.wraps(function)
    def call(*arguments: _Parameters.args, **named: _Parameters.kwargs) -> _Result:
        return run(function(*arguments, **named))

    call.__module__ = __name__
    return call


abort_uploads = _blocking(api.abort_uploads)
copy = _blocking(api.copy)
freeze = _blocking(api.freeze)
ingest = _blocking(api.ingest)
list_datasets = _blocking(api.list_datasets)
publish = _blocking(api.publish)
register = _blocking(api.register)
remove = _blocking(api.remove)
unpublish = _blocking(api.unpublish)
verify = _blocking(api.verify)
