"""The report as text, for the terminal and for the page."""

from __future__ import annotations

from facesync.cli import count, decimals
from facesync.evaluation.report import RULE, ByGroup, Calibrated, Report
from facesync.metrics.open_set import OpenSetRate
from facesync.metrics.rates import Identification

Row = tuple[str, ...]
Table = tuple[str, list[Row]]  # title and rows; the first row is the heading


def tables(report: Report) -> list[Table]:
    """Arrange a report as tables."""
    found = [("Verification", _verification(report)), ("TAR at FAR", _rates(report))]
    if report.identification:
        found.append(("Open-set identification", _identification(report.identification)))
    if report.open_set:
        found.append(("Enrolled people refused (FNIR)", _open_set(report.open_set)))
    if report.by_group:
        title = f"By group, at threshold {decimals(report.by_group.threshold)}"
        found.append((title, _groups(report.by_group)))
    if report.calibrated:
        found.append(("Calibration", _calibration(report.calibrated)))
    return found


def as_text(report: Report) -> str:
    """All tables as lines for the terminal."""
    lines = [report.title]
    for title, rows in tables(report):
        widths = [max(len(row[n]) for row in rows if len(row) > n) for n in range(len(rows[0]))]
        lines += ["", title]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            lines.append("  " + "  ".join(cells).rstrip())
    lines += ["", *notes(report)]
    return "\n".join(lines)


def notes(report: Report) -> list[str]:
    """List what has to be said beside the figures."""
    said = [
        f"{count(report.images, 'image', 'images')}, {len(report.failures):,} failed to "
        f"enrol; {report.embedded_now:,} embedded in this run, any others were cached; "
        f"{report.seconds:.0f} s.",
        f"Rule: {RULE}.",
    ]
    if not report.folds_given:
        said.append(
            f"The source names no folds: its pairs were split into {report.folds}, and a "
            "person may be in several."
        )
    return said + report.notes


def percent(rate: float | None) -> str:
    """Write a rate with as many digits as it needs: `99.27 %`, `0.0012 %`."""
    if rate is None:
        return "-"
    return f"{100 * rate:.2f} %" if rate >= 5e-4 or rate == 0 else f"{100 * rate:.1g} %"


def _verification(report: Report) -> list[Row]:
    both = (report.verification, report.without_failures)
    return [
        ("", "failures rejected", "failures left out"),
        ("pairs", *(f"{part.pairs:,}" for part in both)),
        ("accuracy", *(f"{part.accuracy.mean:.4f} ± {part.accuracy.std:.4f}" for part in both)),
        ("threshold", *(decimals(part.accuracy.threshold, 4) for part in both)),
        ("AUC", *(f"{part.auc:.5f}" for part in both)),
        ("EER", *(percent(part.eer) for part in both)),
    ]


def _rates(report: Report) -> list[Row]:
    rows: list[Row] = [("FAR", "pairs", "TAR", "95 % interval", "threshold")]
    for name, part in (("protocol's", report.verification.rates), ("all", report.all_pairs)):
        if part is None:
            continue
        for far, at in part.tar_at_far.items():
            interval = f"{at.low:.4f} … {at.high:.4f}"
            rows.append((far, name, f"{at.tar:.4f}", interval, decimals(at.threshold, 4)))
        for far, reason in part.refused.items():
            rows.append((far, name, "not given", reason, ""))
    return rows


def _identification(found: Identification) -> list[Row]:
    if found.dir is None or found.threshold is None:
        result = f"not given: {found.strangers:,} images of strangers are too few"
    else:
        result = f"{percent(found.dir)} at threshold {decimals(found.threshold, 4)}"
    return [
        ("", "1:N search"),
        ("gallery", f"{count(found.gallery, 'person', 'people')}, one image each"),
        ("probes", f"{found.probes:,} other images of them"),
        ("strangers", f"{found.strangers:,} images of people who are not in the gallery"),
        ("rank 1", percent(found.rank1)),
        (f"DIR at FPIR {percent(found.fpir)}", result),
    ]  # fmt: skip


def _open_set(rates: list[OpenSetRate]) -> list[Row]:
    one = rates[0]
    people = count(one.people, "person", "people")
    each = count(one.enrolled, "image", "images")
    rows: list[Row] = [(f"{people} enrolled with {each} each", "FNIR", "threshold")]
    for rate in rates:
        strangers = f"strangers given a name (FPIR): {percent(rate.fpir)}"
        rows.append((strangers, percent(rate.fnir), decimals(rate.threshold, 4)))
    return rows


def _groups(found: ByGroup) -> list[Row]:
    rows: list[Row] = [("group", "images", "no face", "FNMR", "95 %", "FMR", "95 %")]
    for group, rates in found.groups.items():
        rows.append(
            (
                group,
                f"{rates.images:,}",
                str(rates.failed_to_enrol),
                percent(rates.fnmr),
                " … ".join(map(percent, rates.fnmr_interval)),
                percent(rates.fmr),
                " … ".join(map(percent, rates.fmr_interval)),
            )
        )
    return rows


def _calibration(found: Calibrated) -> list[Row]:
    rows: list[Row] = [("false match rate", "threshold")]
    rows += [(fmr, decimals(value, 4)) for fmr, value in found.calibration.thresholds.items()]
    for people, value, measured in found.by_gallery:
        kind = "measured" if measured else "extrapolated"
        needed = "no similarity is high enough" if value is None else decimals(value, 4)
        gallery = count(people, "person", "people")
        rows.append((f"{found.fmr:g} in a search of {gallery}", f"{needed} ({kind})"))
    for name, group in (found.calibration.groups or {}).items():
        needed = f"{decimals(group['threshold'], 4)} (at everybody's: {percent(group['fmr'])})"
        rows.append((f"1e-3 within {name}", needed))
    rows.append(("written to", found.written_to))
    return rows
