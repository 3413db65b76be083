"""Actions: asked for one by one or by their numbers."""

from __future__ import annotations

from typing import Any

from tests.doubles.hetzner.core import PREFIX, Hetzner, refuse
from tests.doubles.web import Reply, Request, Routes

routes = Routes()


@routes.on("GET", f"{PREFIX}/actions/{{id}}")
def read(double: Hetzner, request: Request) -> dict[str, Any]:
    action = double.actions.get(int(request.params["id"])) if request.params["id"].isdigit() else None
    if action is None:
        refuse(404, "not_found", f"action with ID '{request.params['id']}' not found")
    return {"action": double.look(action)}


@routes.on("GET", f"{PREFIX}/actions")
def listed(double: Hetzner, request: Request) -> Reply:
    wanted = request.query.get("id")
    return double.page(
        "actions", [double.look(each) for each in double.actions.values() if wanted in (None, str(each.id))], request
    )
