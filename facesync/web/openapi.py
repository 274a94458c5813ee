"""The description of the API (OpenAPI 3.1), made from the table of its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from facesync.version import __version__
from facesync.web.endpoints import Endpoint

_CAMERA = """The camera is a WebSocket, `/api/camera`, of which there is one at a time.

The first message, JSON, names the task: `{"task": "verify"|"watch"|"register", "camera": what the
browser calls the camera, "name": of who registers, or claims to be somebody}`; to register also
`add`, `replace`, `same_person`, `similar_name` (true). The answer is `{"type": "ready"}`.
Each binary message is then a frame, a JPEG of at most 1920 x 1080 pixels and 1 MB, and its answer
`{"type": "view"}` with `status` and `tone` (neutral, good, attention, bad), `hint`, `keys` (pairs
of a key and what it does), `progress` (how many of how many, or null), `marks` (`box` in pixels of
the frame, `tone`, `label`, `track`), `ring` (`centre`, `radius`, `side`, `filled`, or null) and
`done`; besides, `decision` once after an attempt (as `verify --json`), `person` once somebody is
registered, and `people` in view while watching. Send the next frame after the answer.
`{"type": "key", "key": "v"}` begins to verify, `"c"` takes a sample now. After `{"type": "doubt",
"what", "question", "allowed_by"}` send `{"type": "answer", "yes": true|false}`. An error is
`{"type": "error", "error"}`, before the close: 4400 for what was sent, 4409 for a conflict or doubt
(with `doubt`), 4429 for a pause after wrong attempts, 4503 where the camera is in use."""

ERRORS = {
    "400": "What was sent cannot be used.",
    "401": "The token or the cookie is missing or wrong.",
    "403": "Another page has asked.",
    "404": "There is no such person or entry.",
    "408": "The sender was too slow.",
    "409": "The store does not allow it; with `doubt`, somebody has to decide.",
    "413": "Too much was sent.",
    "415": "The body has another type.",
    "421": "The server has another address.",
    "429": "Paused after wrong attempts.",
    "500": "Something went wrong in the app.",
    "503": "A file, a model or a camera cannot be used now.",
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "string", "description": "One line."},
        "outcomes": {
            "type": "array",
            "description": "What became of each image, where somebody was to be registered.",
        },
        "doubt": {
            "type": "object",
            "description": "Send the same again with the field `allowed_by` as true.",
            "properties": {name: {"type": "string"} for name in ("what", "question", "allowed_by")},
        },
    },
}


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Describe the API."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = re.sub(r"{(\w+):\w+}", r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "FaceSync", "version": __version__, "description": _CAMERA},
        "security": [{"token": []}, {"page": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "page": {"type": "apiKey", "in": "cookie", "name": "facesync_PORT"},
            },
            "schemas": {"Error": _ERROR},
            "responses": {status: _error(what) for status, what in ERRORS.items()},
        },
    }


def _error(what: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": what, "content": {"application/json": {"schema": schema}}}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": endpoint.summary,
        "parameters": [_parameter(*found) for found in re.findall(r"{(\w+):(\w+)}", endpoint.path)],
        "responses": {
            str(endpoint.status): {
                "description": "Done.",
                "content": {endpoint.gives: {"schema": fields(endpoint.answer)}},
            },
            **{status: {"$ref": f"#/components/responses/{status}"} for status in ERRORS},
        },
    }
    if endpoint.takes:
        kind = "multipart/form-data" if endpoint.has_files else "application/json"
        described["requestBody"] = {
            "required": True,
            "content": {kind: {"schema": fields(endpoint.takes)}},
        }
    return described


def _parameter(name: str, kind: str) -> dict[str, Any]:
    schema = {"type": "integer" if kind == "int" else "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def fields(described: Mapping[str, str]) -> dict[str, Any]:
    """Return the schema of an object with these fields; of none, that of anything."""
    if not described:
        return {}
    return {
        "type": "object",
        "required": [name for name, kind in described.items() if not kind.endswith("?")],
        "properties": {name: _schema(kind.removesuffix("?")) for name, kind in described.items()},
    }


def _schema(kind: str) -> dict[str, Any]:
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    if kind == "file":
        return file
    if kind == "files":
        return {"type": "array", "items": file, "minItems": 1}
    if kind.startswith("="):
        return {"const": kind[1:]}
    types = kind.split("|")
    return {"type": types if len(types) > 1 else kind}
