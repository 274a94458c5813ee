"""Convert a pack to a folder of images, in several processes; encoded bytes are copied as is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facesync.cli import count
from facesync.data.index import Fault
from facesync.data.pack import Pack
from facesync.data.part_reports import REPORT_NAME, Tally, joined, remove_parts, write_part
from facesync.data.progress import Progress
from facesync.data.shards import Shard
from facesync.data.writing import ImageWriter, temporary_folder
from facesync.errors import DataError, FileError
from facesync.files import write_json
from facesync.images import decode_fault, marker_fault, suffix_of
from facesync.spawning import RESUME, default_workers, in_processes

logger = logging.getLogger(__name__)

_RECORDS_PER_TASK = 256


@dataclass
class Report:
    """The outcome of a conversion; `conversion_report.json` holds these fields.

    Attributes:
        images: images of the pack now in the folder: `written` by this run, or `already_there`.
        identities: number of identities they show.
        bookkeeping: records that hold no image by design; see `explanation`.
        corrupt: `{"key", "reason"}` of each record that gave no image, by key; the key is None if
            it is unknown.
        source: the `.rec` file.
        decode_check: whether each image was decoded, too.
        seconds: duration of this run.
    """

    images: int
    identities: int
    bookkeeping: int
    corrupt: list[dict[str, int | str | None]]
    written: int
    already_there: int
    source: str
    decode_check: bool
    seconds: float
    explanation: str

    def summary(self) -> str:
        """Return a few lines for the terminal."""
        lines = [
            f"{count(self.images, 'image', 'images')} of "
            f"{count(self.identities, 'identity', 'identities')}: {self.written:,} written,"
            f" {self.already_there:,} already there, {len(self.corrupt):,} corrupt"
            f" ({self.seconds:.1f} s, {self.images / max(self.seconds, 1e-3):,.0f} images/s)",
            self.explanation,
        ]
        for entry in self.corrupt[:10]:
            name = "a record" if entry["key"] is None else f"record {entry['key']}"
            lines.append(f"  corrupt: {name}: {entry['reason']}")
        if len(self.corrupt) > 10:
            lines.append(f"  … and {len(self.corrupt) - 10:,} more in the report")
        return "\n".join(lines)


def process_casia_webface(dataset_dir: Path | str, output_dir: Path | str) -> Report:
    """Convert a pack and print the summary, in one call for a notebook; see `convert_pack`."""
    report = convert_pack(dataset_dir, output_dir)
    print(report.summary())
    return report


def convert_pack(
    source: Path | str,
    output: Path | str,
    *,
    workers: int | None = None,
    decode_check: bool = False,
    shard: Shard | None = None,
) -> Report:
    """Write each image of a pack to `output/<identity>/<key>.jpg`, and a report beside them.

    Encoded bytes are copied verbatim; encodings other than JPEG get their own suffix. A file that
    is there with the right size is not written again, so that an interrupted run resumes. Records
    that cannot be read, and images whose start or end is missing, are reported and left out. Only
    one conversion at a time, or one of each share, may write into a folder.

    Args:
        source: the `.rec` file, or a folder with the pack in it or up to two levels down.
        output: folder for the images; made if missing.
        workers: number of processes; None means one for each processor, at most 8. A single one
            is this process; several are spawned, so a script that calls this needs the usual
            `if __name__ == "__main__":`.
        decode_check: also decode each image, and leave out those that cannot be decoded.
        shard: convert only this share of the records; other processes, here or on other machines,
            convert the others into the same folder, and the last one writes the report. A report
            of the share is returned unless this is the last one.

    Raises:
        DataError: there is no pack, or no image in it.
        FileError: the output cannot be written.
    """
    started = time.monotonic()
    pack, output = Pack(source), Path(output)
    expected = pack.key_range[0] - 1 if pack.key_range else len(pack)
    records = shard.range_of(len(pack)) if shard else range(len(pack))
    done = Tally(faults=list(pack.faults) if not shard or shard.number == 1 else [])
    try:
        # A report means that the folder is complete.
        (output / REPORT_NAME).unlink(missing_ok=True)
        remove_parts(output, shard)
        with (
            temporary_folder(output, shard) as temporary,
            Progress(total=min(expected, len(records)), unit=" images", desc="Converting") as bar,
        ):
            workers = workers or default_workers()
            for part in _parts(workers, records, pack, output, temporary, decode_check):
                done.add(part)
                bar.update(part.written + part.already_there + len(part.faults))
    except KeyboardInterrupt:
        logger.warning("Stopped: %s.", RESUME)
        raise
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"cannot write to {output}: {reason}; fix that and {RESUME}") from error

    seconds = round(time.monotonic() - started, 3)
    if not shard:
        return _write_report(output, pack, done, seconds, decode_check)
    about = [len(pack), decode_check]
    write_part(output, shard, done, seconds, about)
    with joined(output, shard.of, about) as found:
        if found:
            return _write_report(output, pack, *found, decode_check)
    logger.info("Part %s is done; the last of them writes %s.", shard, REPORT_NAME)
    return _report(pack, done, seconds, decode_check)


def _write_report(
    output: Path, pack: Pack, done: Tally, seconds: float, decode_check: bool
) -> Report:
    report = _report(pack, done, seconds, decode_check)
    write_json(output / REPORT_NAME, asdict(report))
    if not report.images:
        raise DataError(f"{pack.path}: no image in it could be read; see {output / REPORT_NAME}")
    return report


def _report(pack: Pack, done: Tally, seconds: float, decode_check: bool) -> Report:
    done.faults.sort(key=lambda fault: (fault.key is None, fault.key or 0, fault.offset))
    return Report(
        images=done.written + done.already_there,
        identities=len(done.identities),
        bookkeeping=done.bookkeeping,
        corrupt=[{"key": fault.key, "reason": fault.reason} for fault in done.faults],
        written=done.written,
        already_there=done.already_there,
        source=str(pack.path.absolute()),
        decode_check=decode_check,
        seconds=seconds,
        explanation=_explain(pack, done),
    )


@dataclass(frozen=True)
class _Worker:
    """Converts parts of a pack; each process has its own."""

    pack: Pack
    writer: ImageWriter
    decode_check: bool

    def convert(self, start: int, stop: int) -> Tally:
        """Convert the records at positions `start` to `stop` - 1 in the file."""
        done = Tally()
        for record in self.pack.records(start, stop):
            if isinstance(record, Fault):
                done.faults.append(record)
            elif record.kind != "image":
                done.bookkeeping += 1
            elif reason := self._fault_of(record.data):
                done.faults.append(Fault(record.key, record.offset, reason))
            else:
                done.identities.add(record.identity)
                name = f"{record.key}{suffix_of(record.data)}"
                if self.writer.write(record.identity, name, record.data):
                    done.written += 1
                else:
                    done.already_there += 1
        self.writer.publish()
        return done

    def _fault_of(self, data: bytes) -> str | None:
        return marker_fault(data) or (decode_fault(data) if self.decode_check else None)


_worker: _Worker  # of this process, if it belongs to the pool


def _start_process(*of_worker: Any) -> None:
    global _worker
    _worker = _worker_of(*of_worker)


def _worker_of(pack: Pack, output: Path, temporary: Path, decode_check: bool) -> _Worker:
    return _Worker(pack, ImageWriter(output, temporary), decode_check)


def _convert_in_process(start: int, stop: int) -> Tally:
    return _worker.convert(start, stop)


def _parts(workers: int, records: range, *of_worker: Any) -> Iterator[Tally]:
    """Convert records, in several processes if there is enough to do."""
    tasks = [
        (start, min(start + _RECORDS_PER_TASK, records.stop))
        for start in range(records.start, records.stop, _RECORDS_PER_TASK)
    ]
    workers = min(workers, len(tasks))
    if workers > 1:
        yield from in_processes(workers, _convert_in_process, tasks, _start_process, *of_worker)
        return
    worker = _worker_of(*of_worker)
    for start, stop in tasks:
        yield worker.convert(start, stop)


def _explain(pack: Pack, done: Tally) -> str:
    if not done.bookkeeping:
        return (
            "Every record of this pack is meant to be an image; there are no bookkeeping records."
        )
    people = done.bookkeeping - bool(pack.key_range)
    header = "one header (key 0) and " if pack.key_range else ""
    records = count(done.bookkeeping, "bookkeeping record", "bookkeeping records")
    return (
        f"{records}: {header}{people:,} that say which keys belong to which "
        "identity. They contain no image, so nothing is lost. (CASIA-WebFace has 10,573 of them, "
        "which other converters report as errors.)"
    )
