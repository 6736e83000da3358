"""How a command can end before its work is done."""


class BadInput(Exception):
    """What the user gave cannot be used; the message says what to change. Exit code 2."""


class Failure(Exception):
    """The work itself failed; the message says what is lost and what to do. Exit code 1."""


class Stopped(Exception):
    """The work was asked to stop; what it had done is kept, and starting it again goes on from there. Exit code 75."""
