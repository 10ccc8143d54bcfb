"""The API reference is what its generator writes."""

from docs.generate_api import PAGE, render


def test_the_api_reference_is_up_to_date() -> None:
    assert PAGE.read_text() == render(), "run `make docs`"
