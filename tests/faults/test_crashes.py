"""The operator is killed at every action of every plan, before it and after it: the end is the same."""

from typing import get_args

import pytest

from dtool_operator.planning import plan
from tests.support.crash_stories import STORIES, Story
from tests.support.eventually import eventually
from tests.support.fault_lab import FaultLab
from tests.support.kept_stories import STORIES as KEPT
from tests.support.upload_stories import STORIES as UPLOADS

ACTIONS = sorted({action.__name__ for action in get_args(plan.DatasetAction) + get_args(plan.BucketAction)})
TOLD = {action: story for story in (*STORIES.values(), *UPLOADS.values()) for action in story.actions}
KEPT_WORK = [(name, action) for name, story in KEPT.items() for action in story.actions]


def test_every_action_has_a_story() -> None:
    assert sorted(TOLD) == ACTIONS


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("action", sorted(TOLD))
def test_killed_at(lab: FaultLab, action: str, moment: str) -> None:
    kill_in(lab, TOLD[action], action, moment)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("name", "action"), KEPT_WORK)
def test_killed_in_work_on_what_is_there(lab: FaultLab, name: str, action: str, moment: str) -> None:
    kill_in(lab, KEPT[name], action, moment)


def kill_in(lab: FaultLab, story: Story, action: str, moment: str) -> None:
    story.prepare(lab)
    lab.operator.kill()

    lab.operator.start_crashing(f"{action}:{moment}")
    play(lab, story)

    story.check(lab)


def play(lab: FaultLab, story: Story) -> None:
    """Play a story; an operator that has died is started again, and repeats nothing that was complete."""
    done: dict[str, object] = {}
    since = 0

    def look(wait_for: object) -> None:
        nonlocal done, since
        if not lab.operator.is_alive():
            done, since = lab.data(), len(lab.s3.requests)
            lab.operator.start()
        assert callable(wait_for)
        wait_for(lab)

    for step in story.steps:
        step.do(lab)
        eventually(lambda step=step: look(step.wait_for), within=60)  # type: ignore[misc]
    # the last step's consequence may be seen a moment before the operator dies of it
    eventually(lambda: look(_has_crashed), within=10)
    again = {key.partition("/u/")[2] for key in lab.writes(since)}
    assert again.isdisjoint(key.removeprefix("u/") for key in done)


def _has_crashed(lab: FaultLab) -> None:
    assert lab.operator.has_crashed, "nothing came to the point where the operator was to be killed"
