"""From an error of an adapter to what a condition says; raises what no condition of this object can say."""

from dtool_operator.api.reasons import Reason, find_reason
from dtool_operator.errors import ApiFailure, Conflict, Gone, OperatorError
from dtool_operator.planning.advice import advise
from dtool_operator.planning.observed import Refusal
from dtool_s3.errors import DtoolS3Error, StorageError


def explain(error: DtoolS3Error | OperatorError) -> Refusal:
    """Name a failure in the API's vocabulary, and say what to do.

    Raises Gone, Conflict and ApiFailure as they are: they are about the API server, and the look is repeated.
    """
    if isinstance(error, Gone | Conflict | ApiFailure):
        raise error
    if isinstance(error, OperatorError):
        return Refusal(find_reason(error.reason, Reason.INTERNAL_ERROR), error.message)
    default = Reason.STORAGE_ERROR if isinstance(error, StorageError) else Reason.INTERNAL_ERROR
    reason = find_reason(error.reason, default)
    return Refusal(reason, advise(reason, str(error)))
