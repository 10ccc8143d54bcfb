"""The one error that a command of the plugin ends with."""


class CommandFailed(Exception):
    """The command cannot do what it is asked; the message says why, and what would help."""
