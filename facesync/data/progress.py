"""The progress bar of the data rooms."""

from __future__ import annotations

from tqdm import tqdm

BAR_AFTER_SECONDS = 2
"""What is over sooner needs no bar."""


class Progress(tqdm):
    """A tqdm bar without tqdm's watching thread.

    Processes are started while a bar is shown, or soon after; a process that is forked off a
    threaded one may hang, and Python 3.12 warns of it.
    """

    monitor_interval = 0
