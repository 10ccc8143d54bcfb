"""When the object loop is asked: after failures in a row it rests, and one success is enough to go on."""

from dtool_s3.store.object_loop.trust import MAX_FAILURES, REST_SECONDS, Trust


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def failed(trust: Trust, times: int) -> Trust:
    for _ in range(times):
        trust.note_failure()
    return trust


def test_trust_is_given_until_failures_in_a_row_are_too_many() -> None:
    assert failed(Trust(), MAX_FAILURES - 1).is_given()
    assert not failed(Trust(), MAX_FAILURES).is_given()


def test_a_success_in_between_starts_the_count_anew() -> None:
    trust = failed(Trust(), MAX_FAILURES - 1)
    trust.note_success()

    assert failed(trust, MAX_FAILURES - 1).is_given()


def test_after_a_rest_one_more_failure_is_the_next_rest() -> None:
    clock = Clock()
    trust = failed(Trust(clock), MAX_FAILURES)

    clock.now += REST_SECONDS - 1
    assert not trust.is_given()
    clock.now += 1
    assert trust.is_given()
    trust.note_failure()
    assert not trust.is_given()


def test_a_success_after_a_rest_restores_trust() -> None:
    clock = Clock()
    trust = failed(Trust(clock), MAX_FAILURES)
    clock.now += REST_SECONDS
    trust.note_success()

    assert failed(trust, MAX_FAILURES - 1).is_given()
