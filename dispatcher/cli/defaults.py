"""Putting a context into effect: its URL and its defaults become the defaults of a command."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from dispatcher.cli.settings import Context, Settings, chosen, read_settings

__all__ = ["apply_context"]

_NOT_THERE: Final = {
    "server": "set the context's url instead",
    "api_key": "set the context's key_file instead",
}


class _Option(Protocol):
    name: str | None
    opts: list[str]

    def process_value(self, ctx: Any, value: Any) -> Any: ...


def apply_context(ctx: Any, command: Any, name: str, context_name: str | None) -> None:
    """Choose the context for the command `name`. `SettingsError` if that can't be done."""
    settings = read_settings()
    context = settings.context(context_name)
    if context is None:
        return
    chosen.set(context)
    options = {
        long.removeprefix("--").replace("-", "_"): it
        for it in command.params
        for long in it.opts
        if long.startswith("--")
    }
    told = context.defaults.get(name, {})
    given: dict[str | None, Any] = {}
    for key in told:
        value = _value(settings, context, name, key, options, ctx)
        given[options[key.replace("-", "_")].name] = value
    if context.urls and "server" in options:
        given["server"] = [*context.urls]
    ctx.default_map = {name: given}


def _value(  # noqa: PLR0913, PLR0917 - what is wrong is told with all of it
    settings: Settings,
    context: Context,
    name: str,
    key: str,
    options: Mapping[str, _Option],
    ctx: Any,
) -> Any:
    """Return the default of an option; `SettingsError` if it can be none."""
    at, option = ("contexts", context.name, name, key), key.replace("-", "_")
    if option in _NOT_THERE:
        raise settings.fault(f"has no effect here; {_NOT_THERE[option]}", *at)
    if option not in options:
        raise settings.fault(f"is no option of `dispatcher {name}`", *at)
    value = context.defaults[name][key]
    try:
        options[option].process_value(ctx, value)
    except Exception as error:  # typer has its own copy of click, whose errors have no public name
        raise settings.fault(f"is no value of that option: {error}", *at) from error
    return value
