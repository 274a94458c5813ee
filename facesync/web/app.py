"""The page, its parts and its API as one ASGI app."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from facesync.web import about, camera, log, openapi, people, privacy, recognising
from facesync.web.access import Access, Address, Keys
from facesync.web.desk import Desk
from facesync.web.endpoints import Endpoint, in_json

STATIC = Path(__file__).parent / "static"


async def _description(desk: Desk, request: Request) -> dict[str, Any]:
    return openapi.describe(ENDPOINTS)


ENDPOINTS: list[Endpoint] = [
    *people.ENDPOINTS,
    *recognising.ENDPOINTS,
    *log.ENDPOINTS,
    *about.ENDPOINTS,
    *privacy.ENDPOINTS,
    Endpoint("GET", "/api/openapi.json", _description, "This description."),
]

# Named here: what a system calls them, a registry of its own may say.
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def build(desk: Desk, address: Address, keys: Keys) -> ASGIApp:
    """Build the app."""

    async def on_camera(socket: WebSocket) -> None:
        await camera.serve(socket, desk)

    async def failed(request: Request, error: Exception) -> Response:
        return in_json(error)

    routes: list[BaseRoute] = [endpoint.route(desk) for endpoint in ENDPOINTS]
    routes.append(WebSocketRoute("/api/camera", on_camera))
    routes.append(Route("/", _static))
    routes.append(Route("/{file}", _static))
    app = Starlette(routes=routes, exception_handlers={HTTPException: failed, Exception: failed})
    return Access(app, address, keys)


async def _static(request: Request) -> Response:
    """Send a file of the page; what else is asked for is not looked for."""
    name = request.path_params.get("file", "index.html")
    files = {file.name: file for file in STATIC.iterdir() if file.suffix in _TYPES}
    if name not in files:
        raise HTTPException(404, "there is no such page")
    return FileResponse(files[name], media_type=_TYPES[files[name].suffix])
