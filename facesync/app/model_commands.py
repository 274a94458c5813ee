"""The commands about models: `models`, `models fetch`, `models use`. They load none."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from facesync import cli
from facesync.app import console
from facesync.app.settings import AppSettings, FetchOptions, JsonOptions, UseOptions
from facesync.faces import models, weights
from facesync.faces.models import KNOWN, KnownModel


def _list(settings: AppSettings, options: JsonOptions) -> int:
    used = weights.expected(settings.model)
    listed = [_facts(model) for model in KNOWN.values()]
    if options.json:
        console.print_json({"models": listed, "used": used})
        return cli.DONE
    for facts in listed:
        print(_in_words(facts))
    print(f"In use: {used}")
    return cli.DONE


def _facts(model: KnownModel) -> dict[str, Any]:
    card = model.card()
    return {
        "name": model.name,
        "title": model.title,
        "origin": model.origin,
        "licence": model.licence,
        "url": model.url,
        "bytes": model.size,
        "here": model.path.is_file(),
        "path": str(model.path),
        "open_set": card.get("open_set", []),
        "open_set_on": card.get("open_set_on"),
        "cpu_ms": card.get("cpu_ms"),
        "groups": card.get("calibration", {}).get("groups", {}),
    }


def _in_words(facts: dict[str, Any]) -> str:
    place = "here" if facts["here"] else "not here: `models fetch` downloads it"
    speed = f", {facts['cpu_ms']:g} ms of a CPU a face" if facts["cpu_ms"] else ""
    lines = [
        facts["name"],
        f"  {facts['origin']}, {facts['bytes'] / 1e6:.1f} MB{speed}; {place}",
        f"  {facts['licence']}",
    ]
    enrolled = dict.fromkeys(row["enrolled"] for row in facts["open_set"])
    for number in enrolled:
        refused = ", ".join(
            f"{100 * row['fnir']:.1f} % where {100 * row['fpir']:g} % of strangers pass"
            for row in facts["open_set"]
            if row["enrolled"] == number
        )
        each = cli.count(number, "image", "images")
        lines.append(f"  people registered with {each} who are refused: {refused}")
    if enrolled:
        lines.append(f"    (measured on {facts['open_set_on']})")
    if facts["groups"]:
        rates = (f"{name} {100 * group['fmr']:.2g}\xa0%" for name, group in facts["groups"].items())
        lines.append(
            "  false matches within a group, at the threshold for 0.1 % among LFW's people:"
        )
        wrapped = textwrap.fill(
            "; ".join(rates), 96, initial_indent=" " * 4, subsequent_indent=" " * 4
        )
        lines.append(wrapped.replace("\xa0", " "))
    return "\n".join(lines)


def _fetch(settings: AppSettings, options: FetchOptions) -> int:
    model = models.known(options.name)
    print(f"{model.name} is at {weights.fetched(model, offline=settings.offline)}")
    return cli.DONE


def _use(settings: AppSettings, options: UseOptions) -> int:
    models.choose(options.name)
    print(f"Without --model the app uses: {weights.expected(None)}")
    print("People registered with another model are embedded again at the next use.")
    return cli.DONE


COMMANDS: dict[str, Callable[[AppSettings, Any], int]] = {
    "models": _list,
    "models fetch": _fetch,
    "models use": _use,
}
