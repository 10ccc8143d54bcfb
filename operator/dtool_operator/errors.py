"""The operator's error tree; every error carries the reason that a condition may show.

OperatorError(reason, message, retryable)
├── Gone          the object does not exist any more, or is another one of the same name
├── Conflict      the object changed since it was read; look again
└── ApiFailure    the API server refused or did not answer
"""


class OperatorError(Exception):
    """Root: `reason` is a value of `api.reasons.Reason`, `message` tells a user what to do next."""

    def __init__(self, reason: str, message: str, *, retryable: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retryable = retryable


class Gone(OperatorError):
    """The object does not exist any more, or its name now belongs to another object."""

    def __init__(self, message: str) -> None:
        super().__init__("InternalError", message, retryable=False)


class Conflict(OperatorError):
    """The object changed since it was read."""

    def __init__(self, message: str) -> None:
        super().__init__("InternalError", message)


class ApiFailure(OperatorError):
    """The API server refused the request or did not answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__("InternalError", message)
        self.status = status
