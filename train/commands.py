"""What the commands share: flags of their own by argparse, and `--config.FIELD=VALUE` for a config."""

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from train.errors import UserError, nearest


class Once(argparse.Action):
    """Stores a value, and refuses a second one, of which the first would be forgotten."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("_given", set())
        if option_string and self.dest in given:
            parser.error(f"{option_string} is given twice; leave one out")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """Shows the module's docstring as help, and reports a mistake as a UserError, in one line."""

    def __init__(self, module: str, description: str | None):
        super().__init__(
            prog=f"python -m {module}",
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog="Any field of the config is a flag: --config.model.hidden_size=128",
        )
        self.register("action", None, Once)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")


def split_overrides(command: Parser, argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command's own flags, and the config's as `field=value` strings; `argv` defaults to the program's.

    Raises:
        UserError: a flag is neither; the nearest is named.
    """
    arguments, rest = command.parse_known_args(argv)
    overrides: list[str] = []
    waiting = list(rest)
    while waiting:
        flag = waiting.pop(0)
        if not re.match(r"^--config\.", flag):
            known = [option for action in command._actions for option in action.option_strings]
            raise UserError(f"unknown flag {flag!r}; {nearest(flag.partition('=')[0], [*known, '--config.FIELD'])}")
        if "=" not in flag and waiting and not waiting[0].startswith("--"):
            flag = f"{flag}={waiting.pop(0)}"
        overrides.append(flag.removeprefix("--config."))
    return arguments, overrides
