"""Rule 10 as an assertion: a look whose plans are carried out begins every task once, and comes to rest."""

from dtool_operator.planning.dataset import plan_dataset
from dtool_operator.planning.observed import ObservedDataset
from dtool_operator.planning.plan import StartTransfer
from tests.support.observed import carried_out

_LOOKS = 6


def assert_comes_to_rest(look: ObservedDataset) -> None:
    """Plan and carry out again and again: no task begins twice, and in the end nothing is left to do."""
    started = []
    for _ in range(_LOOKS):
        plan = plan_dataset(look)
        started += [each.task.fingerprint for each in plan.actions if isinstance(each, StartTransfer)]
        look = carried_out(look, plan)

    assert (plan.actions, plan.status) == ((), look.dataset.status)
    assert len(started) == len(set(started))
