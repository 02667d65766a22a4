"""The command line of a folder: every file in it with a function ``command`` is a command.

Its path is its name, the function's docstring its help, and the section of the settings with its
name its flags. The file is imported when the command runs: no help page waits for torch and Ray.
"""

import ast
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import click
from click.exceptions import NoSuchCommand
from pydantic.fields import FieldInfo

from jobs.config import Config, Section, as_yaml
from jobs.settings import READY, alternatives, is_structure, list_item, load_config, setting_fields
from pipeline.core.paths import path_error


class Commands(click.Group):
    """The commands of the package ``package``, whose settings are the Config that ``kind()`` names.

    A command's section is the one with the name of its file after ``prefix``. ``headings`` puts
    commands, and the groups added to this one, under headings; all others come first, in the
    alphabet's order.
    """

    def __init__(
        self,
        package: str,
        kind: Callable[[], type[Config]],
        prefix: str = "",
        headings: Mapping[str, Sequence[str]] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(**attributes)
        self.package = package
        self.kind = kind
        self.prefix = prefix
        self.headings = headings or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        modules = pkgutil.iter_modules([str(self._folder)])
        names = [module.name.replace("_", "-") for module in modules if not module.ispkg]
        return sorted([*filter(self._function, names), *self.commands])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        function = self._function(cmd_name)
        if function is None:
            return self.commands.get(cmd_name)
        file = cmd_name.replace("-", "_")
        section, kind = self.prefix + file, self.kind()
        return click.Command(
            cmd_name,
            params=_parameters(kind, section),
            help=ast.get_docstring(function),
            callback=partial(_run, f"{self.package}.{file}", kind, _part(kind, section).ready),
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        command = self.get_command(ctx, args[0])
        if command is None and not ctx.resilient_parsing:
            raise NoSuchCommand(args[0], possibilities=self.list_commands(ctx), ctx=ctx)
        return (command.name if command else None), command, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        headed = [name for names in self.headings.values() for name in names]
        others = [name for name in self.list_commands(ctx) if name not in headed]
        for heading, names in {"Commands": others, **self.headings}.items():
            found = {name: self.get_command(ctx, name) for name in names}
            lines = [(name, _first_line(command)) for name, command in found.items() if command]
            if lines:
                with formatter.section(heading):
                    formatter.write_dl(lines)

    @property
    def _folder(self) -> Path:
        return Path(__file__).parent.joinpath(*self.package.split(".")[1:])

    def _function(self, name: str) -> ast.FunctionDef | None:
        """Return the function of the command ``name``, None where there is none."""
        file = self._folder / f"{name.replace('-', '_')}.py"
        if "_" in name or not file.stem.isidentifier() or not file.exists():
            return None
        for node in ast.parse(file.read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "command":
                return node
        return None


def _first_line(command: click.Command) -> str:
    return (command.help or "").partition("\n")[0]


def _run(
    module: str,
    kind: type[Config],
    ready: str | None,
    /,
    config: Path | None,
    overrides: tuple[str, ...],
    **flags: Any,
) -> None:
    path = config or (READY / ready if ready else None)
    given = {key: said for key, said in flags.items() if said not in (None, ())}
    try:
        importlib.import_module(module).command(load_config(path, overrides, kind, given))
    except OSError as error:
        raise path_error(error) or error from error


def _part(kind: type[Config], section: str) -> type[Section]:
    found = kind.model_fields.get(section)
    return found.annotation if found else Section  # type: ignore[return-value]


def _parameters(kind: type[Config], section: str) -> list[click.Parameter]:
    """Return the argument and the flags of ``section``'s command, and what all commands take."""
    part = _part(kind, section)
    keys = [*(f"{section}.{name}" for name in part.model_fields), *part.flags]
    fields = setting_fields(kind)
    parameters: list[click.Parameter] = []
    if part.argument:
        name, key = part.argument
        keys = [other for other in keys if other != key]
        parameters.append(_argument(name, key, fields[key]))
    parameters += [_flag(key, fields[key]) for key in keys]
    return [
        *parameters,
        click.Option(
            ["--config", "-c"],
            type=click.Path(path_type=Path),
            help="A YAML file, or the name of a ready one.",
        ),
        click.Option(
            ["--set", "overrides"],
            multiple=True,
            metavar="SECTION.NAME=VALUE",
            help="Any other setting; sluice config and sluice lab config print them.",
        ),
    ]


def _argument(name: str, key: str, field: FieldInfo) -> click.Argument:
    many = list_item(field.annotation) is not None
    argument = click.Argument(
        [name],
        nargs=-1 if many else 1,
        required=False,
        metavar=f"[{name}]..." if many else f"[{name}]",
        help=_described(field),
    )
    argument.name = key
    return argument


def _flag(key: str, field: FieldInfo) -> click.Option:
    """Return the flag of one setting: text, which the settings check all at once."""
    name = key.partition(".")[2].rstrip("_").replace("_", "-")
    switch = bool in alternatives(field.annotation)
    item = list_item(field.annotation)
    option = click.Option(
        [f"--{name}/--no-{name}" if switch else f"--{name}"],
        type=bool if switch else str,
        default=None,
        multiple=item is not None,
        metavar=None if switch else _metavar(field.annotation if item is None else item),
        help=_described(field),
    )
    option.name = key
    return option


def _described(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = "none" if default in (None, ()) else as_yaml(default)
    return f"{field.description or ''}  [default: {shown}]".strip()


def _metavar(annotation: Any) -> str:
    if is_structure(annotation):
        return "YAML"
    kind = next(kind for kind in alternatives(annotation) if kind is not NoneType)
    if get_origin(kind) is Literal:
        return f"[{'|'.join(map(str, get_args(kind)))}]"
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(kind, "TEXT")
