"""A Kaggle dataset on the disk: asked for, transferred, unpacked and verified.

What lies in the output folder says how far it is, so that running again goes on from there:

    <owner>_<name>.zip.part    what has come of the zip; a .json beside it says of which zip
    <owner>_<name>.zip         the whole zip; deleted once what it held is verified
    .<name>.unpacking/         being unpacked; started anew when that was interrupted
    <name>/                    everything, checked against the zip's checksums
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import shutil
import time
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from facesync.data.verification import Verified, verify_folder, write_list
from facesync.errors import DataError, DownloadError, FileError
from facesync.files import replacing

if TYPE_CHECKING:
    import requests

    from facesync.data.kaggle_client import Kaggle

DEFAULT_DATASET = "debarghamitraroy/casia-webface"
CHUNK_BYTES = 1 << 16
RETRY_WAITS_S = (1, 5, 15, 30)
"""Pauses after transfers that broke in a row without bringing anything."""

# What `zipfile` raises for a zip that is cut, altered, encrypted or not a zip.
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeError)

_log = logging.getLogger(__name__)


def default_output() -> Path:
    """Folder for datasets: `/content/datasets` in Colab, `datasets` elsewhere."""
    in_colab = "COLAB_RELEASE_TAG" in os.environ or "COLAB_BACKEND_VERSION" in os.environ
    return Path("/content/datasets" if in_colab else "datasets")


def dataset_slug(text: str) -> str:
    """Argparse type: a dataset's name on Kaggle, `owner/name`."""
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not owner/name, the end of the dataset's address on Kaggle"
        )
    return text


def dataset_folder(dataset: str, output: Path) -> Path:
    """Where `download` puts a dataset: `output/name`."""
    return output / dataset.split("/")[1]


def download(dataset: str, output: Path) -> Verified:
    """Bring a Kaggle dataset to `output/name`; nothing is asked of Kaggle when it is there.

    Args:
        dataset: `owner/name`, as `dataset_slug` admits it.
        output: folder of datasets; made where it is missing.

    Raises:
        DownloadError: no credentials, Kaggle's refusal, no network, a damaged zip.
        DataError: what is in the folder, or what came, is not whole.
        FileError: no room, or a folder that cannot be written.
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
        _unpack(archive, folder, dataset)
    except KeyboardInterrupt:
        _log.info("What has come is kept: the same command goes on from there.")
        raise
    except OSError as error:
        raise FileError(
            f"cannot write in {output}: {error.strerror or error}; free it or name another folder "
            "with --output, then run again: what has come is kept"
        ) from error
    try:
        found = verify_folder(folder, dataset)
    except DataError as error:
        raise DataError(f"{error}; so it came from Kaggle, whose zip is {archive}") from error
    archive.unlink()
    return found


def describe(found: Verified) -> str:
    """Lines for the terminal: what is there, where, and the command that comes next."""
    if not found.packs:
        return f"{found.folder}: {found.files:,} files; no RecordIO pack is among them"
    lines = []
    for pack in found.packs:
        images = pack.folder.with_name(f"{pack.folder.name}-images")
        command = ["--input", str(pack.folder), "--output", str(images)]
        lines += [
            f"Pack: {pack.folder} ({pack.rows:,} index rows, {_readable(pack.size)})",
            f"Next: python preprocessing_dataset.py {shlex.join(command)}",
        ]
    return "\n".join(lines)


def _fetch(dataset: str, archive: Path) -> None:
    """Transfer the zip, going on where an earlier run or a broken connection stopped."""
    import requests

    from facesync.data.kaggle_client import signed_in

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
                failures = 0 if _size(part) > before else failures + 1
                if failures == len(RETRY_WAITS_S):
                    raise DownloadError(
                        f"the transfer keeps breaking after {_readable(_size(part))}: check the "
                        "network, then run the same command again; it goes on from there"
                    ) from error
                _log.info("The transfer broke; going on in %d s.", RETRY_WAITS_S[failures])
                time.sleep(RETRY_WAITS_S[failures])
    _note(part).unlink(missing_ok=True)


def _transfer(kaggle: Kaggle, dataset: str, part: Path, unpacked: int) -> None:
    """Bring `part` to the zip's full length over one connection, or break off.

    Args:
        kaggle: the signed-in client.
        dataset: `owner/name`.
        part: the file that grows; what it holds of the same zip already is not asked for again.
        unpacked: bytes of the dataset as Kaggle states them, 0 for unknown.
    """
    import requests

    with kaggle.open_zip(dataset) as whole:
        total = int(whole.headers.get("Content-Length", 0))
        zip_id = {"etag": whole.headers.get("ETag"), "bytes": total}
        have = _size(part) if _read_note(part) == zip_id else 0
        have = have if have <= total else 0
        _require_room(part.parent, total - have + max(unpacked, total))
        if not have:
            _start_anew(part, zip_id)
            _append(whole, part, total)
    if 0 < have < total:
        with kaggle.open_rest(whole, have) as rest:
            if not rest.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                _start_anew(part, zip_id)
            _append(rest, part, total)
    if total and _size(part) != total:
        raise requests.ConnectionError("the body ended early")


def _append(response: requests.Response, part: Path, total: int) -> None:
    from tqdm import tqdm

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


def _start_anew(part: Path, zip_id: object) -> None:
    part.unlink(missing_ok=True)  # first: a note must never vouch for bytes of another zip
    with replacing(_note(part)) as file:
        file.write(json.dumps(zip_id).encode())


def _read_note(part: Path) -> object:
    try:
        return json.loads(_note(part).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _unpack(archive: Path, folder: Path, dataset: str) -> None:
    """Unpack the zip beside `folder`, every byte against its checksum, then rename it to that.

    Raises:
        DownloadError: the zip is damaged; it is deleted, for nothing in it can be trusted.
        DataError: an entry would land outside the folder; nothing is unpacked.
    """
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as packed:
            targets = _targets(packed, temporary, folder.name)
            _require_room(folder.parent, sum(entry.file_size for entry in targets))
            _extract(packed, targets)
        files = {
            target.relative_to(temporary).as_posix(): (entry.file_size, entry.CRC)
            for entry, target in targets.items()
        }
        write_list(temporary, dataset, files)
        if folder.exists():
            folder.rmdir()  # empty, or `download` would have verified it
        os.replace(temporary, folder)
    except _DAMAGED as error:
        archive.unlink()
        raise DownloadError(
            f"the zip that came is damaged ({error}) and was deleted: run the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _targets(packed: zipfile.ZipFile, folder: Path, name: str) -> dict[zipfile.ZipInfo, Path]:
    """Where each file of the zip goes. A top folder called like the dataset is left out."""
    base = os.path.abspath(folder)
    inside = {}
    for entry in packed.infolist():
        path = os.path.abspath(os.path.join(base, entry.filename))
        if not path.startswith(base + os.sep):
            raise DataError(
                f"{packed.filename} would write outside its folder ({entry.filename!r}): nothing "
                "was unpacked, do not trust this dataset"
            )
        if not entry.is_dir():
            inside[entry] = Path(path).relative_to(base)
    shortened = {
        entry: Path(*path.parts[1:]) if path.parts[0] == name and len(path.parts) > 1 else path
        for entry, path in inside.items()
    }
    # `name/x` beside `x`: both can only be kept as they are.
    clash = len(set(shortened.values())) < len(shortened)
    return {entry: folder / path for entry, path in (inside if clash else shortened).items()}


def _extract(packed: zipfile.ZipFile, targets: dict[zipfile.ZipInfo, Path]) -> None:
    from tqdm import tqdm

    total = sum(entry.file_size for entry in targets)
    with tqdm(desc="unpack", total=total, unit="B", unit_scale=True) as bar:
        for entry, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            # Read to its end, an entry is compared with its checksum.
            with packed.open(entry) as source, target.open("xb") as file:
                while chunk := source.read(CHUNK_BYTES):
                    file.write(chunk)
                    bar.update(len(chunk))


def _require_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FileError(
            f"not enough room in {folder}: {_readable(needed)} are needed and "
            f"{_readable(free)} free; make room or name another folder with --output"
        )


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
