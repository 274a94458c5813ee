"""Settings of `evaluate_liveness.py`. Imports nothing heavy, so that `--help` is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facesync.errors import UsageError
from facesync.options import option


@dataclass(frozen=True)
class LivenessSettings:
    """Settings of one evaluation.

    Raises:
        UsageError: some do not go together.
    """

    data: Path | None = option(
        None,
        "folder that holds live/ and a folder for each kind of attack, such as print/ and replay/, "
        "of images or videos; a name begins with the person and `_`, and images whose names differ "
        "only in the `_` and number at the end are of one video",
        metavar="DIR",
    )
    flatness: Path | None = option(
        None,
        "instead: measure how much depth each video or sequence of images in this folder shows",
        metavar="DIR",
    )
    report: Path | None = option(None, "folder for the report", metavar="DIR")
    model: str = option(
        "embedded",
        "the liveness model to evaluate: the one that ships inside, or a file by train_liveness.py",
        metavar="embedded|FILE",
    )
    cache: Path | None = option(
        None, "folder for detected faces", metavar="DIR", shown_default="REPORT/cache"
    )

    def __post_init__(self) -> None:
        if bool(self.data) == bool(self.flatness):
            raise UsageError("give exactly one of --data and --flatness")
        if self.data and not self.report:
            raise UsageError("--data needs --report, the folder for the report")

    @property
    def cache_folder(self) -> Path | None:
        """Folder for detected faces; None where nothing is to be written."""
        return self.cache or (self.report and self.report / "cache")
