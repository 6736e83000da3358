"""The two ways a command can end badly."""


class BadInput(Exception):
    """What the user gave cannot be used; the message says what to change. Exit code 2."""


class Failure(Exception):
    """The work itself failed; the message says what is lost and what to do. Exit code 1."""
