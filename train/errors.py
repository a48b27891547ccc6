"""How a command ends: the exceptions that a person sees as one clear line, and their exit codes."""

import difflib
import os
import signal
import sys
from collections.abc import Callable, Iterable

DONE, USER_ERROR, DIVERGED, STOPPED = 0, 2, 3, 75


class UserError(Exception):
    """A mistake of the user's: one line that says what was given, what is allowed and what to do."""


class Diverged(Exception):
    """Training met a loss, gradient or update that is not finite."""


class Stopped(Exception):
    """A signal asked the run to stop; its state is saved."""


EXIT_CODES: dict[type[Exception], int] = {UserError: USER_ERROR, Diverged: DIVERGED, Stopped: STOPPED}


def run_command(main: Callable[[], None]) -> int:
    """Runs `main` and returns the exit code of the process, printing an expected ending as one line."""
    try:
        main()
    except tuple(EXIT_CODES) as ending:
        label = "error" if isinstance(ending, UserError) else type(ending).__name__.lower()
        print(f"{label}: {ending}", file=sys.stderr)
        return EXIT_CODES[type(ending)]
    except BrokenPipeError:  # The reader of our output went away (`… | head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return DONE


def nearest(given: str, allowed: Iterable[str]) -> str:
    """Says which of `allowed` was probably meant, and what all of them are."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(given, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}Allowed: {', '.join(allowed) or 'nothing'}."
