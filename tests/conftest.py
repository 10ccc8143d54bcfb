"""Fixtures for every test; naming them here starts nothing."""

pytest_plugins = ["tests.support.sandbox"]
