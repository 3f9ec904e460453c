"""The error and the warning that users see as a single line."""


class RelViTError(ValueError):
    """Bad input: the message names the value, what was expected and the cure, in one line.

    The command line prints the message without a traceback and exits with code 2.
    """


class RelViTWarning(UserWarning):
    """Worth saying, and no reason to stop: the command line prints the message alone."""
