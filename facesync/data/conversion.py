"""Convert a pack to a folder of images, in several processes; encoded bytes are copied as is."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import parent_process
from pathlib import Path

from facesync.cli import count
from facesync.data.index import Fault
from facesync.data.pack import Pack
from facesync.data.progress import Progress
from facesync.data.writing import ImageWriter, temporary_folder
from facesync.errors import DataError, FileError
from facesync.files import write_json
from facesync.images import decode_fault, marker_fault, suffix_of
from facesync.spawning import starting

logger = logging.getLogger(__name__)

REPORT_NAME = "conversion_report.json"
_RECORDS_PER_TASK = 256
_TASKS_AHEAD = 4
_RESUME = "run the same command again to resume"


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
) -> Report:
    """Write each image of a pack to `output/<identity>/<key>.jpg`, and a report beside them.

    Encoded bytes are copied verbatim; encodings other than JPEG get their own suffix. A file that
    is there with the right size is not written again, so that an interrupted run resumes. Records
    that cannot be read, and images whose start or end is missing, are reported and left out. Only
    one conversion at a time may write into a folder.

    Args:
        source: the `.rec` file, or a folder with the pack in it or up to two levels down.
        output: folder for the images; made if missing.
        workers: number of processes; None means one for each processor, at most 8. A single one
            is this process; several are spawned, so a script that calls this needs the usual
            `if __name__ == "__main__":`.
        decode_check: also decode each image, and leave out those that cannot be decoded.

    Raises:
        DataError: there is no pack, or no image in it.
        FileError: the output cannot be written.
    """
    started = time.monotonic()
    pack, output = Pack(source), Path(output)
    done = _Tally(faults=list(pack.faults))
    expected = pack.key_range[0] - 1 if pack.key_range else len(pack)
    try:
        # A report means that the folder is complete.
        (output / REPORT_NAME).unlink(missing_ok=True)
        with (
            temporary_folder(output) as temporary,
            Progress(total=expected, unit=" images", desc="Converting") as bar,
        ):
            workers = workers or min(os.cpu_count() or 1, 8)
            for part in _parts(workers, pack, output, temporary, decode_check):
                done.add(part)
                bar.update(part.written + part.already_there + len(part.faults))
    except KeyboardInterrupt:
        logger.warning("Stopped: %s.", _RESUME)
        raise
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died: out of memory, or a script of yours lacks `if __name__ == "
            f"'__main__':`; {_RESUME}"
        ) from error
    except OSError as error:
        reason = error.strerror or error
        raise FileError(f"cannot write to {output}: {reason}; fix that and {_RESUME}") from error

    done.faults.sort(key=lambda fault: (fault.key is None, fault.key or 0, fault.offset))
    report = Report(
        images=done.written + done.already_there,
        identities=len(done.identities),
        bookkeeping=done.bookkeeping,
        corrupt=[{"key": fault.key, "reason": fault.reason} for fault in done.faults],
        written=done.written,
        already_there=done.already_there,
        source=str(pack.path.absolute()),
        decode_check=decode_check,
        seconds=round(time.monotonic() - started, 3),
        explanation=_explain(pack, done),
    )
    write_json(output / REPORT_NAME, asdict(report))
    if not report.images:
        raise DataError(f"{pack.path}: no image in it could be read; see {output / REPORT_NAME}")
    return report


@dataclass
class _Tally:
    """The outcome of converting some records."""

    written: int = 0
    already_there: int = 0
    bookkeeping: int = 0
    identities: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)

    def add(self, other: _Tally) -> None:
        self.written += other.written
        self.already_there += other.already_there
        self.bookkeeping += other.bookkeeping
        self.identities |= other.identities
        self.faults += other.faults


@dataclass(frozen=True)
class _Worker:
    """Converts parts of a pack; each process has its own."""

    pack: Pack
    writer: ImageWriter
    decode_check: bool

    def convert(self, start: int, stop: int) -> _Tally:
        """Convert the records at positions `start` to `stop` - 1 in the file."""
        done = _Tally()
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


def _start_process(pack: Pack, output: Path, temporary: Path, decode_check: bool) -> None:
    """Prepare a process of the pool: it ignores Ctrl-C and exits when its parent does."""
    global _worker
    _worker = _Worker(pack, ImageWriter(output, temporary), decode_check)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _convert_in_process(start: int, stop: int) -> _Tally:
    return _worker.convert(start, stop)


def _parts(
    workers: int, pack: Pack, output: Path, temporary: Path, decode_check: bool
) -> Iterator[_Tally]:
    """Convert all records, in several processes if there is enough to do."""
    starts = range(0, len(pack), _RECORDS_PER_TASK)
    workers = min(workers, len(starts))
    if workers > 1:
        yield from _in_processes(workers, starts, (pack, output, temporary, decode_check))
        return
    worker = _Worker(pack, ImageWriter(output, temporary), decode_check)
    for start in starts:
        yield worker.convert(start, start + _RECORDS_PER_TASK)


def _in_processes(
    workers: int, starts: Iterable[int], initial: tuple[Pack, Path, Path, bool]
) -> Iterator[_Tally]:
    """Convert the parts that begin at `starts`; only a few of them are queued at any time."""
    with starting("--workers 1", signal.SIGINT):
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(workers, context, _start_process, initial)
    pending: set[Future[_Tally]] = set()
    try:
        for start in starts:
            if len(pending) >= workers * _TASKS_AHEAD:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (task.result() for task in finished)
            with starting("--workers 1", signal.SIGINT):
                task = executor.submit(_convert_in_process, start, start + _RECORDS_PER_TASK)
            pending.add(task)
        yield from (task.result() for task in pending)
    finally:
        executor.shutdown(cancel_futures=True)


def _explain(pack: Pack, done: _Tally) -> str:
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
