"""Register people and recognise them: a menu with a camera window, or commands.

  python faceid_app.py                                    # the menu
  python faceid_app.py register "Ada" --images a.jpg b.jpg c.jpg
  python faceid_app.py register "Ada" --camera clip.mp4
  python faceid_app.py register "Ada" --add --images d.jpg
  python faceid_app.py verify --image x.jpg               # exit code 0: recognised, 1: not
  python faceid_app.py verify --image x.jpg --name Ada --json
  python faceid_app.py compare a.jpg b.jpg                # exit code 0: same person, 1: not
  python faceid_app.py watch --record out.mp4 --events who.jsonl
  python faceid_app.py web                                # the app as a page in the browser
  python faceid_app.py doctor                             # what works on this machine
  python faceid_app.py models                             # which there are, how good; fetch, use
  python faceid_app.py list
  python faceid_app.py rename "Ada" "Ada Lovelace"
  python faceid_app.py merge "Ada" "Ada L."               # the same person: one name is gone
  python faceid_app.py delete "Ada" --yes

The options of all commands may come before or after the command (--config only before it). Exit
codes: 0 accepted or done, 1 not accepted or failed, 2 wrong usage, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from facesync import cli
from facesync.app import settings

if TYPE_CHECKING:
    from facesync.app.session import Session


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = cli.parser(__doc__)
    settings.add_commands(parser)
    return parser


@cli.guarded
def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or the menu if none is given."""
    parsed = settings.parse(build_parser(), argv)
    from facesync.app import commands

    return commands.run(*parsed, serve=_serve)


def _serve(session: Session, options: settings.WebOptions) -> int:
    """Serve the page, which stands above the app."""
    from facesync.web.server import serve

    return serve(session, options)
