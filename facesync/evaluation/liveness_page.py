"""An evaluation of liveness in words, for the terminal and for its page."""

from __future__ import annotations

from facesync.cli import count, decimals
from facesync.evaluation import markup, plots
from facesync.evaluation.liveness_report import LivenessReport, Mistake
from facesync.evaluation.summary import Row, Table, percent, table_lines
from facesync.liveness.samples import LIVE

_WORST = 8
_FEW_PEOPLE = 30

GLOSSARY = {
    "live, attack": "a person before the camera; a print or a screen held before it (ISO/IEC "
    "30107-3: bona fide presentation, presentation attack)",
    "score, threshold": "how surely a face is live, 0 to 1; from the threshold on it counts as "
    "live",
    "APCER": "attack presentation classification error rate: share of the attacks of one kind that "
    "pass as live; the worst kind counts, since an attacker chooses",
    "BPCER": "bona fide presentation classification error rate: share of live presentations that "
    "are taken for attacks",
    "video": "all frames of one presentation; its score is the median of theirs",
    "EER": "equal error rate: APCER of all attacks together and BPCER, at the threshold where they "
    "are equal",
    "AUC": "area under the curve of 1 - BPCER over APCER: 1 for a perfect model, 0.5 for guessing",
    "DET": "curve over all thresholds: BPCER over APCER",
    "95 % interval": "where the figure would be in 95 of 100 repetitions with other people before "
    "the same camera: a bootstrap over people, at least Wilson's interval over videos",
}


def page(report: LivenessReport) -> str:
    """Compose the page."""
    live = report.videos[LIVE].scores
    attacks = {
        kind: report.videos[kind].scores
        for kind in report.attacks
        if len(report.videos[kind].scores)
    }
    drawings = [
        plots.det_svg(
            {kind: (live, scores) for kind, scores in attacks.items()},
            "attacks that pass (APCER)",
            "live people refused (BPCER)",
        ),
        plots.histogram_svg(
            {**attacks, LIVE: live}, report.thresholds.threshold, "Scores of videos", "score", low=0
        ),
    ]
    parts = [
        *(markup.table(*table) for table in tables(report)),
        *map(markup.paragraph, notes(report)),
        markup.curves(drawings),
        _worst(
            "Attacks with frames that pass, by the worst frame",
            [m for m in report.mistakes if m.kind != LIVE],
        ),
        _worst(
            "Live people with frames taken for attacks, by the worst frame",
            [m for m in report.mistakes if m.kind == LIVE],
        ),
        markup.failures("Cannot be read", report.unreadable),
    ]
    return markup.document(_title(report), verdict(report), GLOSSARY, parts)


def as_text(report: LivenessReport) -> str:
    """Verdict, tables and notes as lines for the terminal."""
    lines = [_title(report), "", verdict(report)]
    lines += [line for table in tables(report) for line in ("", *table_lines(*table))]
    return "\n".join([*lines, "", *notes(report)])


def verdict(report: LivenessReport) -> str:
    """Say in two sentences how often the model is wrong, and how sure that is."""
    found = report.rates(report.videos)
    refused, passed = (
        " to ".join(map(percent, report.intervals[kind])) for kind in (LIVE, found.worst)
    )
    return (
        f"At the model's threshold, {decimals(report.thresholds.threshold)}, "
        f"{percent(found.bpcer)} of live videos are taken for attacks (BPCER), and of the worst "
        f"kind of attack, {found.worst}, {percent(found.apcer_worst)} pass as live (APCER). "
        f"For other people before these cameras the shares are within {refused} and {passed} "
        "(95 %); with other cameras, lights and attacks they may be worse."
    )


def tables(report: LivenessReport) -> list[Table]:
    """Arrange a report as tables."""
    return [
        ("Errors at the model's threshold", _errors(report)),
        ("Over all thresholds", _over_all(report)),
        ("What --liveness auto makes of the videos, by their scores alone", _certainty(report)),
    ]


def notes(report: LivenessReport) -> list[str]:
    """List what has to be said beside the figures, and what they do not show."""
    few = min(report.people(kind) for kind in report.frames if report.people(kind))
    said = [
        "The frames of one video are alike, and count as one sample: go by the figures by video.",
        "The figures hold for the cameras, lights and kinds of attack of these samples. Where the "
        "model was trained on samples of the same cameras, they are too good for any other; other "
        "kinds of attack, such as masks, they say nothing of.",
    ]
    if few < _FEW_PEOPLE:
        said.append(
            f"Some of the samples show only {count(few, 'person', 'people')}: one more or less may "
            "change the figures a lot."
        )
    missed = sum(report.no_face.values())
    if missed:
        by_kind = ", ".join(f"{kind} {number:,}" for kind, number in report.no_face.items())
        said.append(
            f"No face was found in {count(missed, 'frame', 'frames')} ({by_kind}): they are left "
            "out, since without a face nothing is accepted."
        )
    if report.unreadable:
        files = count(len(report.unreadable), "file", "files")
        said.append(f"{files} could not be read and were left out.")
    sha = str(report.model.facts.get("sha256", ""))[:16]
    return [*said, f"Model {report.model.name}, SHA-256 {sha}…; {report.seconds:.0f} s."]


def _title(report: LivenessReport) -> str:
    return f"Liveness: {report.model.name} on {report.data}"


def _errors(report: LivenessReport) -> list[Row]:
    by_frame, by_video = report.rates(report.frames), report.rates(report.videos)
    rows: list[Row] = [
        ("", "people", "videos", "by video", "95 % interval", "frames", "by frame", "no face")
    ]
    for kind, frames in report.frames.items():
        rates = [
            found.bpcer if kind == LIVE else found.apcer[kind] for found in (by_video, by_frame)
        ]
        rows.append(
            (
                "live (BPCER)" if kind == LIVE else f"{kind} (APCER)",
                f"{report.people(kind):,}",
                f"{len(report.videos[kind].scores):,}",
                percent(rates[0]),
                " … ".join(map(percent, report.intervals[kind])),
                f"{len(frames.scores):,}",
                percent(rates[1]),
                f"{report.no_face[kind]:,}",
            )
        )
    return rows


def _over_all(report: LivenessReport) -> list[Row]:
    both = [report.rates(level) for level in (report.videos, report.frames)]
    return [
        ("", "by video", "by frame"),
        ("AUC", *(f"{found.auc:.4f}" for found in both)),
        ("EER", *(percent(found.eer) for found in both)),
        ("threshold of the EER", *(decimals(found.eer_threshold) for found in both)),
    ]


def _certainty(report: LivenessReport) -> list[Row]:
    limits = report.thresholds
    rows: list[Row] = [
        (
            "",
            f"an attack: below {decimals(limits.spoof_below)}",
            "neither: a challenge",
            f"live: from {decimals(limits.live_from)}",
        )
    ]
    for kind, scored in report.videos.items():
        if len(scored.scores):
            rows.append((kind, *map(percent, report.certainty(kind))))
    return rows


def _worst(title: str, mistakes: list[Mistake]) -> str:
    if not mistakes:
        return ""
    shown = [([m.crop_rgb], f"{decimals(m.score)}: {m.video}") for m in mistakes[:_WORST]]
    return markup.figures(title, shown)
