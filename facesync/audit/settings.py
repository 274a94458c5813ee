"""Settings of `audit_dataset.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.options import device_option, option

GROUP = "auditing"


@dataclass(frozen=True)
class AuditSettings:
    """Settings of one audit."""

    input: Path = option(help="folder of identity folders, or a pack", metavar="PATH")
    output: Path | None = option(
        None, "folder for the findings", metavar="DIR", shown_default="INPUT_audit"
    )
    apply: bool = option(
        False, "add what is found to the list of images that training leaves out", group=GROUP
    )
    model: str | None = option(
        None,
        "model that embeds the images",
        metavar="NAME|FILE",
        group=GROUP,
        shown_default="as faceid_app.py",
    )
    offline: bool = option(False, "make no network connection", group=GROUP)
    device: str = device_option(GROUP)
