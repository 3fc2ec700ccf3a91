"""Write docs/commands.md: every command of `dispatcher` with its options, from the program itself.

python scripts/reference.py          # writes the page
python scripts/reference.py --check  # ends with 1 if the page is not what it would write
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import typer

from dispatcher.cli import app

PAGE: Final = Path(__file__).parent.parent / "docs/commands.md"
HEAD: Final = """\
# Commands

Every command of `dispatcher` with its options, as `dispatcher COMMAND --help` tells them.
`scripts/reference.py` writes this page from the program.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | the command failed, or a job that it waited for did |
| 2 | the command line is wrong |
| 3 | the dispatcher can't be reached or can't write |
| 4 | the dispatcher refused the request |
| 5 | another machine took over the engine's id |
"""


def main() -> int:
    """Write or check the page; 1 if it is not up to date."""
    text = page()
    if "--check" in sys.argv[1:]:
        return 0 if PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """Return the page."""
    return "\n".join([HEAD, *sections(typer.main.get_command(app), "dispatcher")])


def sections(group: Any, path: str) -> Iterator[str]:
    """Yield a section for each command of a group, also of the groups in it."""
    for name in group.commands:
        command = group.commands[name]
        if hasattr(command, "commands"):
            yield from sections(command, f"{path} {name}")
        else:
            yield section(command, f"{path} {name}")


def section(command: Any, path: str) -> str:
    """Return the section of one command."""
    arguments = [it for it in command.params if it.param_type_name == "argument"]
    options = [it for it in command.params if it.param_type_name == "option"]
    usage = " ".join([path, *(shown(it) for it in arguments), *(["[OPTIONS]"] if options else [])])
    lines = [f"## {path}", "", f"    {usage}", "", *paragraphs(command.help or "")]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{shown(it)}` | {cell(it.help)} |" for it in arguments]
        lines.append("")
    if options:
        lines += ["| option | default | meaning |", "|---|---|---|"]
        lines += [f"| {names(it)} | {default(it)} | {cell(it.help)} |" for it in options]
        lines.append("")
    return "\n".join(lines)


def shown(argument: Any) -> str:
    """Return how an argument stands in a command line."""
    name = argument.metavar or argument.name.upper()
    several = "..." if argument.nargs == -1 or argument.multiple else ""
    return f"{name}{several}" if argument.required else f"[{name}]{several}"


def names(option: Any) -> str:
    """Return the names of an option, and of the variable that can stand for it."""
    told = [f"`{name}`" for name in [*option.opts, *option.secondary_opts]]
    variable = option.envvar
    return ", ".join(told + ([f"`{variable}`"] if isinstance(variable, str) else []))


def default(option: Any) -> str:
    """Return the default of an option; nothing for none, or where it depends on the machine."""
    value = option.default() if callable(option.default) else option.default
    if value is None or option.show_default is False or value in ([], ""):
        return ""
    if isinstance(value, bool):
        return "on" if value else ""
    if isinstance(value, (list, tuple)):
        return ", ".join(f"`{it}`" for it in value)
    if isinstance(value, (int, float)):
        return f"{value:.10g}"
    return f"`{getattr(value, 'value', value)}`"


def paragraphs(text: str) -> list[str]:
    """Return a help text as Markdown, each paragraph on a line."""
    lines: list[str] = []
    for paragraph in text.replace("\b", "").split("\n\n"):
        lines += [escaped(" ".join(paragraph.split())), ""]
    return lines


def cell(text: str | None) -> str:
    """Return a help text as the cell of a table."""
    return escaped(" ".join((text or "").split()))


def escaped(text: str) -> str:
    """Return a text in which nothing is taken for markup of a table or of HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.exit(main())
