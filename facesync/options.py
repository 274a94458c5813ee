"""Options of the command line, made from settings; and the types that their values have.

A setting is one field of a frozen dataclass, made by `option`: its type, default and help stand
there and nowhere else. `add_options` makes a parser's options of the fields, `parse_settings` the
settings of what was typed, with the file of `--config` beneath it.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from facesync.devices import DEVICES
from facesync.errors import FileError, UsageError

S = TypeVar("S")

_MOST_BYTES = 1 << 20
"""The longest file of settings that is read."""


def option(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    factory: Any = dataclasses.MISSING,
    parse: Callable[[str], Any] | None = None,
    choices: Sequence[Any] | None = None,
    metavar: str | None = None,
    group: str | None = None,
    flag: str | None = None,
    positional: bool = False,
    both: bool = False,
    kept: bool = True,
    shown_default: str | None = None,
) -> Any:
    """Declare a setting: a dataclass field that is an option of the command line too.

    Args:
        default: none makes the option required.
        help: a phrase for `--help`; the default is added to it.
        factory: makes the default, where it depends on the machine.
        parse: argparse type; by default that of the annotation (`str`, `int`, `float`, `Path`, or a
            `tuple[…, ...]` of these for several values). A `bool` is a switch.
        choices: the values there are.
        metavar: what stands for the value in the help.
        group: heading of the help that it stands under.
        flag: by default the field's name; `--no-x` for a field `x` that is True makes it False.
        positional: it has no flag.
        both: of a `bool`: `--no-…` as well, so that a preset or a file can be overruled.
        kept: False for what is meant for one run only, which is not taken from another run's
            `settings.json`.
        shown_default: what the help says of the default; "" says nothing.
    """
    described = {
        "help": help, "parse": parse, "choices": choices, "metavar": metavar, "group": group,
        "flag": flag, "positional": positional, "both": both, "kept": kept,
        "shown_default": shown_default,
    }  # fmt: skip
    return dataclasses.field(default=default, default_factory=factory, metadata=described)


def override(settings: type, name: str, default: Any, **described: Any) -> Any:
    """Declare a setting of another dataclass again, with another default (help, …)."""
    fields = {field.name: field for field in dataclasses.fields(settings)}
    return dataclasses.field(default=default, metadata={**fields[name].metadata, **described})


def device_option(group: str | None = None) -> Any:
    """Declare `--device auto|cpu|cuda|mps`."""
    return option(
        "auto",
        "device to compute on; auto uses CUDA or MPS if available",
        choices=DEVICES,
        group=group,
    )


def add_options(
    parser: argparse.ArgumentParser,
    settings: type,
    *,
    groups: Sequence[str] = (),
    config: bool = True,
) -> None:
    """Add an option for every field of a dataclass that `option` made.

    What is not given is not in the parsed result, so that presets, a file, and options before a
    subcommand keep their say.

    Args:
        parser: gets them.
        settings: a dataclass.
        groups: headings in the order they are to stand in; others follow.
        config: add `--config` too.
    """
    hints = typing.get_type_hints(settings)
    targets: dict[str | None, Any] = {None: parser}
    for group in groups:
        targets[group] = parser.add_argument_group(group)
    for field in dataclasses.fields(settings):
        if "help" not in field.metadata:
            continue
        group = field.metadata["group"]
        if group not in targets:
            targets[group] = parser.add_argument_group(group)
        flags, described = _argument(field, hints[field.name])
        targets[group].add_argument(*flags, default=argparse.SUPPRESS, **described)
    if config:
        parser.add_argument(
            "--config",
            type=Path,
            default=argparse.SUPPRESS,
            metavar="FILE",
            help="read settings from a TOML file (keys named like the options) or from the "
            "settings.json of an earlier run",
        )


def parse_settings(
    parser: argparse.ArgumentParser,
    settings: type[S],
    argv: Sequence[str] | None = None,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Parse a command line into settings.

    The command line beats the file of `--config`, which beats the preset, which beats the defaults.

    Args:
        parser: made with `add_options`.
        settings: the dataclass to make.
        argv: the arguments; those of the process when None.
        presets: values by the name of each preset, where there is a setting `preset`.
    """
    return make_settings(parser, settings, parser.parse_args(argv), presets)


def make_settings(
    parser: argparse.ArgumentParser,
    settings: type[S],
    args: argparse.Namespace,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
) -> S:
    """Make settings of what a parser with more than their options has parsed; see there."""
    given = vars(args)
    values = read_config(given["config"], settings) if given.get("config") else {}
    fields = {field.name: field for field in dataclasses.fields(settings)}  # type: ignore[arg-type]
    values |= {name: value for name, value in given.items() if name in fields}
    if presets is not None:
        values = {**presets[values.get("preset", fields["preset"].default)], **values}
    missing = [
        _flag(field)
        for name, field in fields.items()
        if name not in values
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        parser.error(f"the following arguments are required: {', '.join(missing)}")
    hints = typing.get_type_hints(settings)
    for name, value in values.items():
        if isinstance(value, list) and typing.get_origin(_plain_type(hints[name])) is tuple:
            values[name] = tuple(value)
    return settings(**values)


def read_config(path: Path, settings: type) -> dict[str, Any]:
    """Read the values of settings from a TOML file or the `settings.json` of a run.

    Every value passes through the same checks as on the command line.

    Raises:
        FileError: the file cannot be read.
        UsageError: a name in it is not an option here, or a value is not one of its option's.
    """
    content = _read_plain(path)
    of_a_run = path.suffix == ".json"
    if of_a_run:
        content = content.get("settings", content)
    fields = {field.name: field for field in dataclasses.fields(settings)}
    hints = typing.get_type_hints(settings)
    values = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        field = fields.get(name)
        if field is None or "help" not in field.metadata:
            if of_a_run:
                continue  # another script's setting
            shown = key if key.isprintable() else repr(key)
            raise UsageError(f"{path}: {shown} is not an option here")
        if value is None or (of_a_run and not field.metadata["kept"]):
            continue
        if name in values:
            raise UsageError(f"{path}: {name} is given twice, with a dash and an underscore")
        values[name] = _checked(path, field, hints[name], value)
    return values


def _read_plain(path: Path) -> dict[str, Any]:
    """Read TOML or JSON, by the file's suffix."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise FileError(f"{path} is too large to be a file of settings")
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
        if path.suffix == ".json":
            import json

            content = json.loads(text)
        else:
            if sys.version_info >= (3, 11):
                import tomllib
            else:
                import tomli as tomllib
            content = tomllib.loads(text)
    except OSError as error:
        raise FileError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path} is neither TOML nor a run's settings.json ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("settings", {}), dict):
        raise FileError(f"{path} does not hold settings by name")
    return content


def _checked(path: Path, field: dataclasses.Field[Any], hint: Any, value: Any) -> Any:
    """Pass a value of a file through the checks of its option."""
    _, described = _argument(field, hint)
    kind = _plain_type(hint)
    what = f"{path}: {field.name}"
    try:
        shown = f"{value!r:.40}"
    except ValueError:  # Python does not print whole numbers of thousands of digits.
        raise UsageError(f"{what} has too many digits") from None
    if kind is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{what} is {shown}, neither true nor false")
        return value
    several = "nargs" in described
    parts = value if isinstance(value, list) else [value]
    if isinstance(value, list) != several or any(_is_no_text(part) for part in parts):
        raise UsageError(f"{what} cannot be {shown}")
    parse = described.get("type", str)
    try:
        read = [parse(str(part)) for part in parts]
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UsageError(f"{what} cannot be {shown} ({error})") from error
    choices = described.get("choices")
    if choices is not None and any(part not in choices for part in read):
        raise UsageError(f"{what} is {shown}; choose one of {', '.join(map(str, choices))}")
    return tuple(read) if several else read[0]


def _is_no_text(value: Any) -> bool:
    """Whether no text on the command line can stand for a value of a file."""
    return isinstance(value, (dict, list, bool)) or (isinstance(value, str) and "\0" in value)


def _argument(field: dataclasses.Field[Any], hint: Any) -> tuple[list[str], dict[str, Any]]:
    """Return the flags and keywords of `add_argument` for a field."""
    about, kind = field.metadata, _plain_type(hint)
    described: dict[str, Any] = {"help": about["help"] + _default_in_words(field, kind)}
    if not about["positional"]:
        described["dest"] = field.name
    if kind is bool:
        if about["both"]:
            described["action"] = argparse.BooleanOptionalAction
        else:
            described["action"] = "store_false" if field.default is True else "store_true"
        return [_flag(field)], described
    if typing.get_origin(kind) is tuple:
        described["nargs"] = "+"
        kind = typing.get_args(kind)[0]
    elif about["positional"] and field.default is None:
        described["nargs"] = "?"
    parse = about["parse"] or kind
    if parse is not str:
        described["type"] = parse
    for name in ("choices", "metavar"):
        if about[name] is not None:
            described[name] = about[name]
    return [field.name if about["positional"] else _flag(field)], described


def _flag(field: dataclasses.Field[Any]) -> str:
    if field.metadata.get("positional"):
        return str(field.metadata["metavar"] or field.name)
    return field.metadata.get("flag") or "--" + field.name.replace("_", "-")


def _plain_type(hint: Any) -> Any:
    """Take `| None` away from a type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return hint


def _default_in_words(field: dataclasses.Field[Any], kind: Any) -> str:
    shown = field.metadata["shown_default"]
    if shown is None:
        if kind is bool or field.metadata["positional"]:
            return ""
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if default is dataclasses.MISSING or default is None or default == ():
            return ""
        shown = f"{default:g}" if isinstance(default, float) else str(default)
    return f" (default: {shown})".replace("%", "%%") if shown else ""


def whole(text: str) -> int:
    """Argparse type: a whole number of at least 0."""
    return _from(0, text)


def _from(least: int, text: str, below: int = 2**31) -> int:
    value = int(text)
    if value < least:
        raise argparse.ArgumentTypeError(f"{text} is not {least} or more")
    if value >= below:
        raise argparse.ArgumentTypeError(f"it is not below {below}")
    return value


def seed(text: str) -> int:
    """Argparse type: a seed that Python, NumPy and torch all take."""
    return _from(0, text, 2**32)


def positive_int(text: str) -> int:
    """Argparse type: a whole number of at least 1."""
    return _from(1, text)


def positive_float(text: str) -> float:
    """Argparse type: a finite number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def rate(text: str) -> float:
    """Argparse type: a rate of at least 1e-12 and below 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    if value < 1e-12:
        raise argparse.ArgumentTypeError(f"{text} is smaller than 1e-12, which nothing can measure")
    return value


def add_device_option(target: Any) -> None:
    """Add `--device auto|cpu|cuda|mps` to a parser or an argument group."""
    target.add_argument(
        "--device",
        choices=DEVICES,
        default="auto",
        help="device to compute on; auto uses CUDA or MPS if available (default: %(default)s)",
    )
