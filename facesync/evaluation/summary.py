"""The report as text, for the terminal and for the page."""

from __future__ import annotations

from facesync.cli import count, decimals
from facesync.evaluation.baseline import Baseline
from facesync.evaluation.report import RULE, ByGroup, Calibrated, Report
from facesync.metrics.open_set import OpenSetRate
from facesync.metrics.rates import Identification, wilson

BASELINE = "baseline"

Row = tuple[str, ...]
Table = tuple[str, list[Row]]  # title and rows; the first row is the heading


def tables(report: Report) -> list[Table]:
    """Arrange a report as tables."""
    base = report.baseline
    found = [("Verification", _verification(report)), ("TAR at FAR", _rates(report))]
    if report.identification:
        found.append(("Open-set identification", _identification(report.identification, base)))
    if report.open_set:
        found.append(("Enrolled people refused (FNIR)", _open_set(report.open_set, base)))
    if report.by_group:
        title = f"By group, at threshold {decimals(report.by_group.threshold)}"
        found.append((title, _groups(report.by_group, base)))
    if report.calibrated:
        found.append(("Calibration", _calibration(report.calibrated)))
    return found


def as_text(report: Report) -> str:
    """All tables as lines for the terminal."""
    lines = [report.title, "", verdict(report), "", baseline(report)]
    lines += [line for table in tables(report) for line in ("", *table_lines(*table))]
    return "\n".join([*lines, "", *notes(report)])


def table_lines(title: str, rows: list[Row]) -> list[str]:
    """Lay out a table for the terminal, under its title."""
    widths = [max(len(row[n]) for row in rows if len(row) > n) for n in range(len(rows[0]))]
    lines = [title]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append("  " + "  ".join(cells).rstrip())
    return lines


def verdict(report: Report) -> str:
    """Say in two sentences what the app would do with this model, and how sure that is."""
    found, model = report.in_force, report.model
    origin = "the default, as the model is not calibrated"
    if model.calibration is not None:
        origin = f"for a false match rate of {model.calibration.default_fmr():g}"
    elif model.threshold is not None:
        origin = "the model's own"
    fnmr, fmr = found.refused / found.genuine, found.let_in / found.impostor
    owners, strangers = (
        " to ".join(map(percent, wilson(errors, total)))
        for errors, total in ((found.refused, found.genuine), (found.let_in, found.impostor))
    )
    chosen = ", on which the threshold was chosen too" if found.chosen_here else ""
    return (
        f"At the threshold in force, {decimals(found.threshold)} ({origin}), the app would refuse "
        f"{percent(fnmr)} of the images of a person who is registered and let in {percent(fmr)} of "
        "those of strangers, if one person is registered. "
        f"This was measured on {found.genuine:,} pairs of images of one person and "
        f"{found.impostor:,} of two people ({report.source}){chosen}, so for people like these the "
        f"shares are within {owners} and {strangers} at best (95 %), and for others they may be "
        "worse."
    )


def baseline(report: Report) -> str:
    """Say what the figures are shown beside."""
    return report.baseline.in_words(report.source, report.verification.pairs)


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


def _figure(value: float | None, places: int = 4) -> str:
    return "-" if value is None else decimals(value, places)


def _verification(report: Report) -> list[Row]:
    both, base = (report.verification, report.without_failures), report.baseline.number
    pairs = base("pairs")
    return [
        ("", "failures rejected", "failures left out", BASELINE),
        ("pairs", *(f"{part.pairs:,}" for part in both), "-" if pairs is None else f"{pairs:,.0f}"),
        ("accuracy", *(f"{part.accuracy.mean:.4f} ± {part.accuracy.std:.4f}" for part in both),
         _figure(base("accuracy_mean"))),
        ("threshold", *(decimals(part.accuracy.threshold, 4) for part in both),
         _figure(base("threshold"))),
        ("AUC", *(f"{part.auc:.5f}" for part in both), _figure(base("auc"), 5)),
        ("EER", *(percent(part.eer) for part in both), percent(base("eer"))),
    ]  # fmt: skip


def _rates(report: Report) -> list[Row]:
    rows: list[Row] = [("FAR", "pairs", "TAR", BASELINE, "95 % interval", "threshold")]
    for name, part, keys in (
        ("protocol's", report.verification.rates, ("tar_at_far",)),
        ("all", report.all_pairs, ("all_pairs", "tar_at_far")),
    ):
        if part is None:
            continue
        for far, at in part.tar_at_far.items():
            base = _figure(report.baseline.number(*keys, far))
            interval = f"{at.low:.4f} … {at.high:.4f}"
            rows.append((far, name, f"{at.tar:.4f}", base, interval, decimals(at.threshold, 4)))
        for far, reason in part.refused.items():
            base = _figure(report.baseline.number(*keys, far))
            rows.append((far, name, "not given", base, reason, ""))
    return rows


def _identification(found: Identification, baseline: Baseline) -> list[Row]:
    if found.dir is None or found.threshold is None:
        result = f"not given: {found.strangers:,} images of strangers are too few"
    else:
        result = f"{percent(found.dir)} at threshold {decimals(found.threshold, 4)}"
    rank1, at_fpir = (percent(baseline.number("identification", key)) for key in ("rank1", "dir"))
    return [
        ("", "1:N search", BASELINE),
        ("gallery", f"{count(found.gallery, 'person', 'people')}, one image each", ""),
        ("probes", f"{found.probes:,} other images of them", ""),
        ("strangers", f"{found.strangers:,} images of people who are not in the gallery", ""),
        ("rank 1", percent(found.rank1), rank1),
        (f"DIR at FPIR {percent(found.fpir)}", result, at_fpir),
    ]  # fmt: skip


def _open_set(rates: list[OpenSetRate], baseline: Baseline) -> list[Row]:
    one = rates[0]
    people = count(one.people, "person", "people")
    each = count(one.enrolled, "image", "images")
    rows: list[Row] = [(f"{people} enrolled with {each} each", "FNIR", BASELINE, "threshold")]
    for rate in rates:
        strangers = f"strangers given a name (FPIR): {percent(rate.fpir)}"
        base = percent(baseline.fnir(rate.enrolled, rate.fpir))
        rows.append((strangers, percent(rate.fnir), base, decimals(rate.threshold, 4)))
    return rows


def _groups(found: ByGroup, baseline: Baseline) -> list[Row]:
    rows: list[Row] = [
        ("group", "images", "no face", "FNMR", BASELINE, "95 %", "FMR", BASELINE, "95 %")
    ]
    for group, rates in found.groups.items():
        base = [
            percent(baseline.number("by_group", "groups", group, rate)) for rate in ("fnmr", "fmr")
        ]
        rows.append(
            (
                group,
                f"{rates.images:,}",
                str(rates.failed_to_enrol),
                percent(rates.fnmr),
                base[0],
                " … ".join(map(percent, rates.fnmr_interval)),
                percent(rates.fmr),
                base[1],
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
