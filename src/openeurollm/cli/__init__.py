"""The command `openeurollm`: one file a noun, one way to print, one way to fail."""

import errno
import sys

from openeurollm.cli.frame import app
from openeurollm.errors import BadInput, Failure, Stopped

# Importing a noun's module registers its commands, in the order in which the help lists them.
# isort: off
from openeurollm.cli import run, work, languages, identify, corpus, thresholds, quality, rights, tokenizer  # noqa: F401
from openeurollm.cli import model  # noqa: F401
from openeurollm.cli import evaluate, release, trace, serve, plan, board, metrics, pack, transfer, sites  # noqa: F401
# isort: on


def main() -> None:
    """Run the command line; errors are lines that say what to do, exit code 2 for bad input, 1 for a failure, 75
    (EX_TEMPFAIL) for work that was asked to stop and can go on."""
    debug = "--debug" in sys.argv
    try:
        app(args=[argument for argument in sys.argv[1:] if argument != "--debug"], standalone_mode=True)
    except (Exception, KeyboardInterrupt) as error:
        if debug:
            raise
        print(f"error: {_words(error)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, BadInput) else 75 if isinstance(error, Stopped) else 1)


def _words(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "stopped; run again to go on"
    if isinstance(error, MemoryError):
        return "out of memory; what was finished is kept, run again on a larger machine or with fewer --workers"
    where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    if (isinstance(error, OSError) and error.errno == errno.ENOSPC) or "No space left" in str(error):
        return f"the disk is full{where}; what was finished is kept, free some space and run again"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"not allowed to write or read here{where}; choose another folder or mend its permissions"
    if isinstance(error, BadInput | Failure | Stopped | OSError):
        return str(error)
    return f"{type(error).__name__}: {error} (a defect; --debug shows where)"
