"""facenet-pytorch, imported without opening a socket."""

from __future__ import annotations

import socket
import sys
from typing import Any


def import_facenet() -> Any:
    """Import facenet-pytorch and return the package.

    It imports urllib3, which at its own import opens an IPv6 socket to see whether there is IPv6,
    unless Python was built without it. Whoever uses urllib3 later in this process tries IPv6.
    """
    ours = "urllib3" not in sys.modules
    built_with_ipv6, socket.has_ipv6 = socket.has_ipv6, False
    try:
        import facenet_pytorch
    finally:
        socket.has_ipv6 = built_with_ipv6
    if ours and "urllib3" in sys.modules:
        import urllib3.util.connection

        urllib3.util.connection.HAS_IPV6 = built_with_ipv6
    return facenet_pytorch
