"""What is answered: plain data as JSON, errors, files to save."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from starlette.responses import Response


def plain(content: Any, status: int = 200) -> Response:
    """Return plain data as JSON; any text fits into it, such as a name that is no valid Unicode."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return Response(text, status, media_type="application/json")


def failure(error: str, status: int, **more: object) -> Response:
    """Return an error: one line."""
    return plain({"error": error, **more}, status)


def attached(data: bytes, name: str, kind: str) -> Response:
    """Return a file that a browser saves, with a name of any characters (RFC 6266, RFC 8187)."""
    plain_name = "".join(c if c.isascii() and (c.isalnum() or c in " ._-") else "_" for c in name)
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    disposition = f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{encoded}"
    return Response(data, media_type=kind, headers={"Content-Disposition": disposition})
