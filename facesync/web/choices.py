"""What the page may set, kept for the next `web` in the app's configuration folder.

What the command line or `--config` gave stands: the page cannot change it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from facesync.app import rates
from facesync.app.settings import AppSettings
from facesync.errors import UsageError
from facesync.faces.models import AUTO, KNOWN
from facesync.files import config_folder, read_regular, write_json
from facesync.liveness.settings import LIVENESS

log = logging.getLogger(__name__)

_GIVEN_AS = {
    "false_match_rate": ("fmr", "threshold"),  # with a threshold, no rate counts
    "model": ("model",),
    "liveness": ("liveness",),
    "camera": ("camera",),
}
_MOST_BYTES = 1 << 16


def file() -> Path:
    """Return where the choices are kept."""
    return config_folder() / "web.json"


def fixed(settings: AppSettings) -> list[str]:
    """List what the command line or `--config` gave."""
    return [name for name, given in _GIVEN_AS.items() if not settings.given.isdisjoint(given)]


def chosen(settings: AppSettings) -> AppSettings:
    """Return the settings with what the page chose before; a damaged file counts as none."""
    try:
        kept = json.loads(read_regular(file(), most=_MOST_BYTES))
        if not isinstance(kept, dict):
            raise ValueError("no object")
        free = {name: kept[name] for name in _GIVEN_AS if name in kept}
        for name in fixed(settings):
            free.pop(name, None)
        return changed(settings, free)
    except FileNotFoundError:
        return settings
    except (OSError, ValueError, TypeError, KeyError, RecursionError, UsageError):
        log.warning("%s cannot be used: what the page had set counts as not set", file())
        return settings


def changed(settings: AppSettings, wanted: Mapping[str, Any]) -> AppSettings:
    """Return the settings with other values.

    Raises:
        UsageError: there is no such setting or value, or the command line fixed it.
    """
    for name, value in wanted.items():
        if name in fixed(settings):
            raise UsageError(f"{name} was given on the command line, or by --config")
        if name == "false_match_rate" and _is_one_of(value, rates.RATES):
            settings = replace(settings, fmr=value)
        elif name == "model" and _is_one_of(value, (AUTO, *KNOWN)):
            settings = replace(settings, model=None if value == AUTO else value)
        elif name == "liveness" and _is_one_of(value, LIVENESS):
            settings = replace(settings, liveness=value)
        else:
            raise UsageError(f"{name} cannot be set to that")
    return settings


def keep(settings: AppSettings) -> None:
    """Keep what is not fixed for the next time.

    Raises:
        FileError: it cannot be written.
    """
    values = {name: value for name, value in current(settings).items() if name != "camera"}
    free = {name: value for name, value in values.items() if name not in fixed(settings)}
    write_json(file(), free, private=True)


def current(settings: AppSettings) -> dict[str, Any]:
    """Return the values in force."""
    return {
        "false_match_rate": settings.fmr,
        "model": settings.model or AUTO,
        "liveness": settings.liveness,
        "camera": settings.camera,
    }


def _is_one_of(value: Any, choices: tuple[Any, ...]) -> bool:
    return not isinstance(value, (dict, list, bool)) and value in choices
