"""A report's figures in words, for the terminal and for the page."""

from __future__ import annotations

from typing import Any

Row = tuple[str, ...]
Table = tuple[str, list[Row]]  # title and rows; the first row is the heading


def tables(report: dict[str, Any]) -> list[Table]:
    """Arrange a report as tables."""
    found = [("Verification", _verification(report)), ("TAR at FAR", _rates(report))]
    if report["identification"]:
        found.append(("Open-set identification", _identification(report["identification"])))
    if report.get("by_group"):
        found.append((f"By group, at {report['by_group']['threshold']:.3f}", _groups(report)))
    if report.get("calibration"):
        found.append(("Calibration", _calibration(report)))
    if report.get("conditions"):
        found.append((report["conditions"]["title"], _conditions(report["conditions"])))
    return found


def as_text(report: dict[str, Any]) -> str:
    """All tables as lines for the terminal."""
    lines = [f"{report['model']['source']} on {report['set']}"]
    for title, rows in tables(report):
        widths = [max(len(row[n]) for row in rows if len(row) > n) for n in range(len(rows[0]))]
        lines += ["", title]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=False))
            lines.append("  " + "  ".join(cells).rstrip())
    lines += ["", *notes(report)]
    return "\n".join(lines)


def notes(report: dict[str, Any]) -> list[str]:
    """Say what has to be said beside the figures."""
    seconds = report["seconds"]
    said = [
        f"{report['pictures']:,} images, {report['failed_to_enrol']} failed to enrol; "
        f"{report['embedded_now']:,} embedded in this run, the others were in the cache; "
        f"{seconds:.0f} s.",
        f"Rule: {report['rule']}.",
    ]
    if not report["folds_given"]:
        said.append(
            f"The source names no folds: its pairs were dealt into {report['folds']}, and people "
            "may be in several."
        )
    return said + report["notes"]


def percent(rate: float | None) -> str:
    """Write a rate with as many digits as it needs: `99.27 %`, `0.0012 %`."""
    if rate is None:
        return "-"
    return f"{100 * rate:.2f} %" if rate >= 5e-4 or rate == 0 else f"{100 * rate:.1g} %"


def _verification(report: dict[str, Any]) -> list[Row]:
    other = report["without_failures"]
    return [
        ("", "failures refused", "failures left out"),
        ("pairs", f"{report['pairs']:,}", f"{other['pairs']:,}"),
        ("accuracy", *(f"{r['accuracy_mean']:.4f} ± {r['accuracy_std']:.4f}"
                       for r in (report, other))),
        ("threshold", *(f"{r['threshold']:.4f}" for r in (report, other))),
        ("AUC", *(f"{r['auc']:.5f}" for r in (report, other))),
        ("EER", *(percent(r["eer"]) for r in (report, other))),
    ]  # fmt: skip


def _rates(report: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("FAR", "pairs", "TAR", "95 % interval", "threshold")]
    for name, part in (("protocol's", report), ("all", report["all_pairs"])):
        if not part:
            continue
        for far, tar in part["tar_at_far"].items():
            low, high = part["tar_at_far_interval"][far]
            threshold = part["threshold_at_far"][far]
            rows.append((far, name, f"{tar:.4f}", f"{low:.4f} … {high:.4f}", f"{threshold:.4f}"))
        for far, reason in part["tar_at_far_refused"].items():
            rows.append((far, name, "not given", reason, ""))
    return rows


def _identification(found: dict[str, Any]) -> list[Row]:
    rate = percent(found["fpir"])
    if found["dir"] is None:
        result = f"not given: {found['strangers']:,} strangers are too few"
    else:
        result = f"{percent(found['dir'])} at threshold {found['threshold']:.4f}"
    return [
        ("", ""),
        ("gallery", f"{found['gallery']:,} people, one image each"),
        ("probes", f"{found['probes']:,} other images of them"),
        ("strangers", f"{found['strangers']:,} images of others"),
        ("rank 1", percent(found["rank1"])),
        (f"DIR at FPIR {rate}", result),
    ]


def _groups(report: dict[str, Any]) -> list[Row]:
    rows: list[Row] = [("group", "pictures", "no face", "FNMR", "95 %", "FMR", "95 %")]
    for group, of in report["by_group"]["groups"].items():
        rows.append(
            (
                group,
                f"{of['pictures']:,}",
                str(of["failed_to_enrol"]),
                percent(of["fnmr"]),
                " … ".join(map(percent, of["fnmr_interval"])),
                percent(of["fmr"]),
                " … ".join(map(percent, of["fmr_interval"])),
            )
        )
    return rows


def _calibration(report: dict[str, Any]) -> list[Row]:
    found = report["calibration"]
    rows: list[Row] = [("false-match rate", "threshold")]
    rows += [(fmr, f"{value:.4f}") for fmr, value in found["thresholds"].items()]
    for people, value, measured in found["by_gallery"]:
        kind = "measured" if measured else "extrapolated"
        rows.append((f"{found['fmr']:g} among {people:,} known", f"{value:.4f} ({kind})"))
    rows.append(("written to", found["written_to"]))
    return rows


def _conditions(found: dict[str, Any]) -> list[Row]:
    return [tuple(row) for row in found["table"]]
