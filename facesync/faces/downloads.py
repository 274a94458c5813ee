"""Download the weights of a known model: resumed, with progress, and checked."""

from __future__ import annotations

import logging
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from facesync.errors import DownloadError, FaceSyncError
from facesync.faces.models import KnownModel
from facesync.faces.onnx_files import sha256

log = logging.getLogger(__name__)


def download(model: KnownModel, check: Callable[[Path], object]) -> None:
    """Download a model's weights to its path, with progress; an interrupted download is resumed.

    The bytes go to `<path>.part`, which is renamed once it is complete and checked.

    Args:
        model: has a `url`.
        check: raises a FaceSyncError if a file does not hold such weights.

    Raises:
        DownloadError: no connection, refused, or the file received is not the weights.
    """
    assert model.url is not None
    path = model.path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    log.info("%s: %s", model.title, model.licence)
    log.info("Downloading %s (%.0f MB, once) to %s", model.title, model.size / 1e6, path)
    help_line = f"check the connection and run again, or save the file as {path} yourself"
    _receive(model.url, part, model.title, help_line)
    try:
        _check(model, part, check)
    except FaceSyncError as error:
        part.unlink()
        raise DownloadError(
            f"the file received is not {model.title} ({error}); {help_line}"
        ) from error
    os.replace(part, path)


def _check(model: KnownModel, part: Path, check: Callable[[Path], object]) -> None:
    received = sha256(part)
    if model.pinned and received != model.sha256:
        raise DownloadError(f"its SHA-256 is {received}")
    check(part)
    if received != model.sha256:
        log.warning(
            "%s: the file received has the SHA-256 %s, not the published %s; it holds such "
            "weights, but others may have made them",
            model.title,
            received,
            model.sha256,
        )


def _receive(url: str, part: Path, title: str, help_line: str) -> None:
    """Append to `part` what is missing of a file."""
    from tqdm import tqdm

    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            if response.status != 206:
                have = 0  # the server sends the whole file again
            total = have + int(response.headers.get("Content-Length", 0))
            with (
                open(part, "ab" if have else "wb") as file,
                tqdm(total=total or None, initial=have, unit="B", unit_scale=True) as bar,
            ):
                while block := response.read(1 << 20):
                    file.write(block)
                    bar.update(len(block))
    except urllib.error.HTTPError as error:
        if error.code == 416:  # the part is as long as the file, or longer
            part.unlink(missing_ok=True)
        error.close()
        raise DownloadError(
            f"the server refused {title} ({error.code} {error.reason}); {help_line}"
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLCertVerificationError):
            help_line = (
                "a proxy or a virus scanner reads along, or the clock is wrong; if it is a proxy "
                "that you trust, set SSL_CERT_FILE to the file with its certificate (PEM)"
            )
        raise DownloadError(f"{title} could not be downloaded ({reason}); {help_line}") from error
    if total and part.stat().st_size < total:
        raise DownloadError(f"the download of {title} was interrupted; run again to resume")
