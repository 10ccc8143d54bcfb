"""Fixtures for every test; naming them here starts nothing."""

pytest_plugins = [
    "tests.support.s3_place",
    "tests.support.sandbox",
    "tests.support.moto",
    "tests.support.installed",
]
