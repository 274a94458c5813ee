"""Register faces and verify them: a menu with a camera window, or commands for programs.

  python faceid_app.py                                    # the menu
  python faceid_app.py register "Ada" --images a.jpg b.jpg
  python faceid_app.py register "Ada" --camera clip.mp4
  python faceid_app.py register "Ada" --add --images c.jpg
  python faceid_app.py verify --image x.jpg               # exit code 0: known, 1: not
  python faceid_app.py verify --image x.jpg --name Ada --json
  python faceid_app.py watch --record out.mp4 --events who.jsonl
  python faceid_app.py doctor                             # what works on this machine
  python faceid_app.py list
  python faceid_app.py delete "Ada" --yes

Options stand before or after the command. Exit codes: 0 accepted or done, 1 not accepted or
failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields

from facesync import cli
from facesync.app.options import add_commands
from facesync.app.settings import AppSettings


def build_parser() -> argparse.ArgumentParser:
    """Build the command line."""
    parser = cli.parser(__doc__)
    add_commands(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or the menu where none is given."""
    args = build_parser().parse_args(argv)
    known = {field.name for field in fields(AppSettings)}
    settings = AppSettings(**{k: v for k, v in vars(args).items() if k in known})
    from facesync.app import commands

    return commands.run(settings, args)


if __name__ == "__main__":
    sys.exit(main())
