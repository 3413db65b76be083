"""Projects, environments and configs."""

from __future__ import annotations

import re
from typing import Any

from tests.doubles.doppler.core import Config, Doppler, refuse
from tests.doubles.web import Reply, Request, Routes, page_of

routes = Routes()
SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,60}")


def shown(config: Config) -> dict[str, Any]:
    """A config as it is listed."""
    return {
        "name": config.name,
        "root": config.root,
        "locked": config.locked,
        "environment": config.environment,
        "project": config.project,
        "inheritable": False,
        "inherits": [],
        "created_at": config.created_at,
        "initial_fetch_at": None,
        "last_fetch_at": None,
    }


def project_of(double: Doppler, request: Request) -> str:
    """The project that a request is about; a service token sees its own."""
    token = double.token_of(request)
    body = request.body if isinstance(request.body, dict) else {}
    name = request.query.get("project") or body.get("project") or ""
    if token.service:
        own = token.configs[0].split("/")[0]
        name = name or own
        if name != own:
            refuse(403, "This token does not have access to requested project")
    if name not in double.projects:
        refuse(404, f"Could not find requested project '{name}'")
    return name


def page(request: Request, key: str, items: list[Any]) -> dict[str, Any]:
    """One page of a list."""
    part, numbers = page_of(items, request.query, 20, 100)
    return {key: part, "page": numbers["page"]}


@routes.on("GET", "/v3/projects", needs="read")
def projects(double: Doppler, request: Request) -> dict[str, Any]:
    return page(request, "projects", list(double.projects.values()))


@routes.on("POST", "/v3/projects", needs="write")
def make_project(double: Doppler, request: Request) -> dict[str, Any]:
    name = str(request.body.get("name") or "")
    if not SLUG.fullmatch(name):
        refuse(400, "You must specify a name")
    if name in double.projects:
        refuse(409, "A project with this name already exists")
    text = request.body.get("description") or ""
    made = {"id": name, "slug": name, "name": name, "description": text, "created_at": double.now()}
    double.projects[name] = made
    return {"project": made}


@routes.on("GET", "/v3/projects/project", needs="read")
def project(double: Doppler, request: Request) -> dict[str, Any]:
    return {"project": double.projects[project_of(double, request)]}


@routes.on("DELETE", "/v3/projects/project", needs="write")
def remove_project(double: Doppler, request: Request) -> Reply:
    name = project_of(double, request)
    del double.projects[name]
    for key in [key for key in double.environments if key[0] == name]:
        del double.environments[key]
    for config in [config for config in double.configs.values() if config.project == name]:
        del double.configs[config.key]
    return Reply(204, raw=b"")


@routes.on("GET", "/v3/environments", needs="read")
def environments(double: Doppler, request: Request) -> dict[str, Any]:
    name = project_of(double, request)
    return page(request, "environments", [each for key, each in double.environments.items() if key[0] == name])


@routes.on("POST", "/v3/environments", needs="write")
def make_environment(double: Doppler, request: Request) -> dict[str, Any]:
    """An environment begins with a root config of its name."""
    owner, slug = project_of(double, request), str(request.body.get("slug") or "")
    if not SLUG.fullmatch(slug):
        refuse(400, "You must specify a slug")
    if (owner, slug) in double.environments:
        refuse(409, "An environment with this slug already exists")
    made = {"id": slug, "slug": slug, "name": request.body.get("name") or slug, "project": owner}
    double.environments[owner, slug] = made
    double.add_config(owner, slug)
    return {"environment": made}


@routes.on("GET", "/v3/configs", needs="read")
def configs(double: Doppler, request: Request) -> dict[str, Any]:
    name = project_of(double, request)
    return page(request, "configs", [shown(each) for each in double.configs.values() if each.project == name])


@routes.on("POST", "/v3/configs", needs="write")
def make_config(double: Doppler, request: Request) -> dict[str, Any]:
    owner = project_of(double, request)
    name, environment = str(request.body.get("name") or ""), request.body.get("environment")
    if (owner, environment) not in double.environments:
        refuse(404, f"Could not find requested environment '{environment}'")
    if not name.startswith(f"{environment}_"):
        refuse(400, f"Branch config names must begin with '{environment}_'")
    if f"{owner}/{name}" in double.configs:
        refuse(409, "A config with this name already exists")
    return {"config": shown(double.add_config(owner, name))}


@routes.on("GET", "/v3/configs/config", needs="read")
def config(double: Doppler, request: Request) -> dict[str, Any]:
    return {"config": shown(double.config_of(request))}


@routes.on("DELETE", "/v3/configs/config", needs="write")
def remove_config(double: Doppler, request: Request) -> Reply:
    del double.configs[double.config_of(request).key]
    return Reply(204, raw=b"")


@routes.on("POST", "/v3/configs/config/lock", needs="write")
def lock(double: Doppler, request: Request) -> dict[str, Any]:
    found = double.config_of(request)
    found.locked = True
    return {"config": shown(found)}


@routes.on("POST", "/v3/configs/config/unlock", needs="write")
def unlock(double: Doppler, request: Request) -> dict[str, Any]:
    found = double.config_of(request)
    found.locked = False
    return {"config": shown(found)}
