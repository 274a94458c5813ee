"""Download a dataset from Kaggle: transfer, unpack, verify.

The files in the output folder show how far a download got, so that the next run can resume it:

    <owner>_<name>.zip.part    the first part of the zip; a .json beside it identifies the zip
    <owner>_<name>.zip         the whole zip; deleted once its content is verified
    .<name>.unpacking/         being unpacked; if interrupted, unpacking starts over
    <name>/                    the dataset, checked against the zip's checksums
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import time
from pathlib import Path

import requests
from tqdm import tqdm

from facesync.cli import count
from facesync.data.kaggle_client import Kaggle, is_untrusted, signed_in
from facesync.data.unpacking import CHUNK_BYTES, readable, require_room, unpack
from facesync.data.verification import VerifiedDataset, verify_folder
from facesync.errors import DataError, DownloadError, FileError
from facesync.files import write_json

RETRY_WAITS_S = (1, 5, 15, 30)
"""Pauses after transfers in a row that broke without receiving anything."""

_log = logging.getLogger(__name__)


def dataset_folder(dataset: str, output: Path) -> Path:
    """Where `download` puts a dataset: `output/name`."""
    return output / dataset.split("/")[1]


def verify(dataset: str, output: Path) -> VerifiedDataset:
    """Verify every file of a downloaded dataset, without network; DataError if one is damaged."""
    return verify_folder(dataset_folder(dataset, output), dataset, checksums=True)


def download(dataset: str, output: Path) -> VerifiedDataset:
    """Download a Kaggle dataset, `owner/name`, to `output/name`; only verify one that is there.

    Raises:
        DownloadError: no credentials, a refusal by Kaggle, no network, or a damaged zip.
        DataError: the folder, or what was downloaded, is incomplete or damaged.
        FileError: the disk is full, or the folder cannot be written.
    """
    folder = dataset_folder(dataset, output)
    if folder.exists() and not _is_empty_folder(folder):
        try:
            found = verify_folder(folder, dataset)
        except DataError as error:
            raise DataError(f"{error}; move {folder} away or delete it, then run again") from error
        _log.info("%s is already there.", folder)
        return found
    archive = output / f"{dataset.replace('/', '_')}.zip"
    try:
        output.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            _fetch(dataset, archive)
        unpack(archive, folder, dataset)
    except KeyboardInterrupt:
        _log.info("Run the same command again to resume.")
        raise
    except OSError as error:
        raise FileError(
            f"cannot write in {output}: {error.strerror or error}; fix that, or choose another "
            "folder with --output, then run again to resume"
        ) from error
    try:
        found = verify_folder(folder, dataset)
    except DataError as error:
        raise DataError(f"{error}; the zip from Kaggle has the same fault: {archive}") from error
    archive.unlink()
    return found


def describe(found: VerifiedDataset) -> str:
    """Return lines for the terminal: what was downloaded, and the command to run next."""
    if not found.packs:
        return f"{found.folder}: {count(found.files, 'file', 'files')}, no RecordIO pack among them"
    lines = []
    for pack in found.packs:
        images = pack.folder.with_name(f"{pack.folder.name}-images")
        command = ["--input", str(pack.folder), "--output", str(images)]
        lines += [
            f"Pack: {pack.folder} ({pack.rows:,} index rows, {readable(pack.size)})",
            f"Next: python preprocessing_dataset.py {shlex.join(command)}",
        ]
    return "\n".join(lines)


def _fetch(dataset: str, archive: Path) -> None:
    """Transfer the zip, resuming where an earlier run or a broken connection stopped."""
    part = archive.with_name(f"{archive.name}.part")
    broken = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    failures = 0
    with signed_in(dataset) as kaggle:
        unpacked = kaggle.total_bytes(dataset)
        while not archive.exists():
            before = _size(part)
            try:
                _transfer(kaggle, dataset, part, unpacked)
                os.replace(part, archive)
            except broken as error:
                if is_untrusted(error):
                    raise
                failures = 0 if _size(part) > before else failures + 1
                if failures == len(RETRY_WAITS_S):
                    raise DownloadError(
                        f"the download keeps breaking off after {readable(_size(part))}: "
                        "check the network, then run the same command again to resume"
                    ) from error
                _log.info("The download broke off; resuming in %d s.", RETRY_WAITS_S[failures])
                time.sleep(RETRY_WAITS_S[failures])
    _note(part).unlink(missing_ok=True)


def _transfer(kaggle: Kaggle, dataset: str, part: Path, unpacked: int) -> None:
    """Complete `part` over one connection; raises an error of requests if that breaks.

    What `part` already holds of the same zip is not transferred again. `unpacked` is the size of
    the unpacked dataset by Kaggle's account, 0 if unknown.
    """
    with kaggle.open_zip(dataset) as whole:
        length = whole.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else 0
        zip_id = {"etag": whole.headers.get("ETag"), "bytes": total}
        have = _size(part) if _read_note(part) == zip_id else 0
        have = have if have <= total else 0
        require_room(part.parent, total - have + max(unpacked, total))
        if not have:
            _restart(part, zip_id)
            _append(whole, part, total)
    if 0 < have < total:
        with kaggle.open_rest(whole, have) as rest:
            if not rest.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                _restart(part, zip_id)
            _append(rest, part, total)
    if total and _size(part) != total:
        raise requests.ConnectionError("the body ended early")


def _append(response: requests.Response, part: Path, total: int) -> None:
    with (
        part.open("ab") as file,
        tqdm(
            desc="download",
            total=total or None,
            initial=file.tell(),
            unit="B",
            unit_scale=True,
        ) as bar,
    ):
        for chunk in response.iter_content(CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


def _restart(part: Path, zip_id: object) -> None:
    part.unlink(missing_ok=True)  # first: a note must never vouch for bytes of another zip
    write_json(_note(part), zip_id)


def _read_note(part: Path) -> object:
    try:
        return json.loads(_note(part).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
