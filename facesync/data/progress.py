"""The progress bar."""

from __future__ import annotations

from tqdm import tqdm

BAR_AFTER_SECONDS = 2
"""Shorter work gets no bar."""


class Progress(tqdm):
    """A tqdm bar without tqdm's monitor thread.

    Processes are started while a bar is shown, or soon after, and forking a process that has
    threads may deadlock (Python 3.12 warns of it).
    """

    monitor_interval = 0
