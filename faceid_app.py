"""Register faces and verify them: a menu with a camera window, or commands for programs.

    python faceid_app.py            # the menu
    python faceid_app.py --help     # the commands

The door to `facesync.app.main`, which `pip install .` also installs as the command `facesync`.
"""

import sys

from facesync.app.main import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    sys.exit(main())
