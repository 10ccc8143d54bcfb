"""Moved to planning.task; this name stays until all importers follow."""

from dtool_operator.planning.task import *  # noqa: F403
