r"""Take from a report what `evaluate_model.py` shows beside other figures: the shipped baseline.

python -m benchmarks.held_out --write lists
python evaluate_model.py --model edgeface-xs --pairs lists/pairs.txt --images lists/lfw \
        --report report
python -m benchmarks.baseline report/report.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from facesync import cli
from facesync.evaluation.baseline import SHIPPED
from facesync.faces.models import EDGEFACE
from facesync.files import write_json

KEPT = ("pairs", "accuracy_mean", "threshold", "auc", "eer", "tar_at_far", "identification")


def main(argv: Sequence[str] | None = None) -> int:
    """Write the baseline."""
    parser = cli.parser(__doc__)
    parser.add_argument("report", type=Path, help="report.json of EdgeFace-XS on the held-out fold")
    found = json.loads(parser.parse_args(argv).report.read_text(encoding="utf-8"))
    data = {
        "model": {"source": EDGEFACE.title},
        "set": "LFW's fifth fold",
        **{key: found[key] for key in KEPT},
        "all_pairs": {"tar_at_far": found["all_pairs"]["tar_at_far"]},
    }
    write_json(SHIPPED, data, indent=1)
    return cli.DONE


if __name__ == "__main__":
    sys.exit(cli.guarded(main)())
