"""Write `docs/commands.md`: the help of every command, as the program prints it.

python docs/commands.py            write it
python docs/commands.py --check    exit with 1 where it is out of date
"""

import os
import sys
from pathlib import Path

os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb", TYPER_USE_RICH="0")

import typer
from typer.testing import CliRunner

from openeurollm import cli

PAGE = Path(__file__).resolve().parent / "commands.md"


def main() -> None:
    """Write the page, or check it."""
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, "utf-8")
    elif not PAGE.is_file() or PAGE.read_text("utf-8") != text:
        raise SystemExit("docs/commands.md is out of date; run make docs")


def page() -> str:
    """The page's text."""
    parts = ["# Commands\n\nWritten by `make docs` from the program's own help.\n"]
    for path in [[], *commands(typer.main.get_command(cli.app), [])]:
        output = CliRunner().invoke(cli.app, [*path, "--help"], prog_name="openeurollm").output
        lines = "\n".join(line.rstrip() for line in output.strip().splitlines())
        parts.append(f"## {' '.join(['openeurollm', *path])}\n\n```text\n{lines}\n```\n")
    return "\n".join(parts)


def commands(group: object, path: list[str]) -> list[list[str]]:
    """Every command and group below a group, in the order of the help."""
    found = []
    for name, command in getattr(group, "commands", {}).items():
        found += [[*path, name], *commands(command, [*path, name])]
    return found


if __name__ == "__main__":
    main()
