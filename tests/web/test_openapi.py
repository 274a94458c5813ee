"""The description of the API: valid, and of every part."""

from __future__ import annotations

import re

from openapi_spec_validator import validate
from starlette.routing import Route, WebSocketRoute

from facesync.web import app, openapi
from facesync.web.access import Address, Keys
from facesync.web.desk import Desk


def test_it_is_valid_and_served(served):
    described = served.ask("GET", "/api/openapi.json").json
    validate(described)
    assert described == openapi.describe(app.ENDPOINTS)


def test_every_route_is_described_and_every_described_one_is_there(session):
    desk = Desk(session)
    access = app.build(desk, Address(False, 1, frozenset()), Keys())
    desk.close()
    described = {
        (method.upper(), path)
        for path, operations in openapi.describe(app.ENDPOINTS)["paths"].items()
        for method in operations
    }
    routes = {
        (method, re.sub(r"{(\w+):\w+}", r"{\1}", route.path))
        for route in access._app.routes
        if isinstance(route, Route) and route.path.startswith("/api/")
        for method in route.methods - {"HEAD"}
    }
    assert routes == described
    (socket,) = [route for route in access._app.routes if isinstance(route, WebSocketRoute)]
    assert socket.path in openapi.describe([])["info"]["description"]


def test_what_a_part_takes_is_what_it_reads():
    paths = openapi.describe(app.ENDPOINTS)["paths"]
    body = paths["/api/people"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert body["required"] == ["name", "images"]
    assert set(body["properties"]) == {
        "name", "images", "add", "replace", "same_person", "similar_name"
    }  # fmt: skip
    (name,) = paths["/api/people/{name}"]["delete"]["parameters"]
    assert (name["name"], name["in"]) == ("name", "path")
