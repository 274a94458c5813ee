"""Register people and recognise them: a menu with a camera window, or commands.

    python faceid_app.py            # the menu
    python faceid_app.py --help     # the commands

The code is in `facesync.main`, which `pip install .` also installs as the command `facesync`.
"""

import sys

from facesync.main import build_parser, main

__all__ = ["build_parser", "main"]

if __name__ == "__main__":
    sys.exit(main())
