"""The double of Doppler: scopes, limits with headers, changes that are whole or not at all, keys shown once."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.doubles.doppler import Doppler, doppler

SERVICE = f"dp.st.prd.{'A1' * 20}"
WRITER = f"dp.sa.{'B2' * 20}"
CONFIG = "/v3/configs/config"
BOTH = "project=app&config=prd"


@pytest.fixture
def double() -> Iterator[Doppler]:
    made = doppler()
    made.add_config("app", "prd", {"A": "one", "B": "${A}"})
    made.add_config("app", "prd_eu", {})
    made.add_token(SERVICE, ["app/prd"])
    made.add_token(WRITER, access="read/write")
    with made.running():
        yield made


def ask(double: Doppler, method: str, path: str, token: str = WRITER, body: Any = None) -> tuple[int, Any, Any]:
    """(status, body, headers)."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(double.url + path, data, {"Authorization": f"Bearer {token}"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def test_tokens_and_their_scopes(double: Doppler) -> None:
    assert ask(double, "GET", f"{CONFIG}/secrets/names", SERVICE)[1] == {
        "names": ["A", "B", "DOPPLER_CONFIG", "DOPPLER_ENVIRONMENT", "DOPPLER_PROJECT"]
    }
    assert ask(double, "GET", f"{CONFIG}/secrets?project=app&config=prd_eu", SERVICE)[0] == 403
    assert ask(double, "GET", f"{CONFIG}/secrets?project=app")[:2] == (
        400, {"messages": ["You must specify a config"], "success": False},
    )  # fmt: skip
    assert ask(double, "GET", f"{CONFIG}/secrets?project=app&config=x")[:2] == (
        404, {"messages": ["Could not find requested config 'x'"], "success": False},
    )  # fmt: skip
    assert ask(double, "DELETE", f"{CONFIG}/secret?name=A", SERVICE)[0] == 403
    assert ask(double, "GET", "/v3/me", "dp.st.wrong")[:2] == (
        401, {"messages": ["Invalid Service token"], "success": False},
    )  # fmt: skip
    assert ask(double, "GET", "/v3/me", "dp.pt.wrong")[1]["messages"] == ["Invalid Auth token"]
    assert ask(double, "GET", "/v3/me", SERVICE)[1]["type"] == "service_token"
    assert ask(double, "GET", "/v3/nowhere")[0] == 404


def test_limits_are_in_every_answer(double: Doppler) -> None:
    double.limits["read"] = 2
    remaining = [ask(double, "GET", "/v3/me")[2]["x-ratelimit-remaining"] for _each in range(2)]
    status, body, headers = ask(double, "GET", "/v3/me")
    assert (remaining, status, body["success"]) == (["1", "0"], 429, False)
    assert 1 <= int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-limit"] == "2"
    assert ask(double, "GET", f"{CONFIG}/secrets?{BOTH}")[0] == 200


def test_changes_are_whole_or_not_at_all(double: Doppler) -> None:
    good = {"name": "C", "originalName": None, "value": "3"}
    stale = {"name": "A", "originalName": "A", "value": "2", "originalValue": "zero"}
    path, where = f"{CONFIG}/secrets", {"project": "app", "config": "prd"}
    for refused in (stale, {**good, "name": "A"}, {**good, "name": "lower"}, {**good, "originalName": "X"}):
        assert ask(double, "POST", path, body={**where, "change_requests": [good, refused]})[0] in (400, 409)
        assert double.configs["app/prd"].values == {"A": "one", "B": "${A}"}
    rename = {"name": "D", "originalName": "B", "value": None}
    gone = {"name": "A", "originalName": "A", "value": None, "originalValue": "one", "shouldDelete": True}
    shy = {**good, "visibility": "restricted"}
    assert ask(double, "POST", path, body={**where, "change_requests": [shy, rename, gone]})[0] == 200
    assert double.configs["app/prd"].values == {"C": "3", "D": "${A}"}
    assert ask(double, "GET", f"{path}?{BOTH}&secrets=C")[1]["secrets"]["C"]["raw"] is None
    assert ask(double, "POST", path, body={**where, "secrets": {"C": None, "E": "5"}})[0] == 200
    assert double.configs["app/prd"].values == {"D": "${A}", "E": "5"}
    assert ask(double, "POST", path, body={**where, "secrets": {}, "change_requests": []})[0] == 400
    assert ask(double, "POST", f"{CONFIG}/lock?{BOTH}")[1]["config"]["locked"] is True
    assert ask(double, "POST", path, body={**where, "secrets": {"A": "x"}})[0] == 403
    assert ask(double, "POST", f"{CONFIG}/unlock?{BOTH}")[1]["config"]["locked"] is False
    assert ask(double, "GET", f"{CONFIG}/secret?{BOTH}&name=E")[1]["value"]["raw"] == "5"
    assert ask(double, "DELETE", f"{CONFIG}/secret?{BOTH}&name=E")[0] == 204


def test_a_key_is_shown_once(double: Doppler) -> None:
    where = {"project": "app", "config": "prd"}
    made = ask(double, "POST", f"{CONFIG}/tokens", body={**where, "name": "host"})[1]["token"]
    assert made["key"].startswith("dp.st.prd.")
    listed = ask(double, "GET", f"{CONFIG}/tokens?{BOTH}")[1]["tokens"]
    assert [each["name"] for each in listed] == ["made by the test", "host"]
    assert made["key"] not in json.dumps(listed)
    assert ask(double, "GET", f"{CONFIG}/secrets/download", made["key"])[1]["B"] == "one"
    assert ask(double, "DELETE", f"{CONFIG}/tokens/token", body={**where, "slug": made["slug"]})[0] == 204
    assert ask(double, "GET", f"{CONFIG}/secrets/download", made["key"])[0] == 401
    assert ask(double, "DELETE", f"{CONFIG}/tokens/token", body={**where, "slug": made["slug"]})[0] == 404


def test_projects_environments_and_configs(double: Doppler) -> None:
    assert ask(double, "POST", "/v3/projects", body={"name": "web"})[0] == 200
    assert ask(double, "POST", "/v3/projects", body={"name": "web"})[0] == 409
    assert ask(double, "POST", "/v3/environments?project=web", body={"name": "Production", "slug": "prd"})[0] == 200
    branch = {"project": "web", "environment": "prd"}
    assert ask(double, "POST", "/v3/configs", body={**branch, "name": "eu"})[0] == 400
    assert ask(double, "POST", "/v3/configs", body={**branch, "name": "prd_eu"})[0] == 200
    assert [each["name"] for each in ask(double, "GET", "/v3/configs?project=web")[1]["configs"]] == ["prd", "prd_eu"]
    assert ask(double, "GET", "/v3/environments?project=web")[1]["environments"][0]["slug"] == "prd"
    assert ask(double, "DELETE", f"{CONFIG}?project=web&config=prd_eu")[0] == 204
    assert ask(double, "GET", f"{CONFIG}?project=web&config=prd_eu")[0] == 404
    assert len(ask(double, "GET", "/v3/projects?per_page=1")[1]["projects"]) == 1
    assert ask(double, "DELETE", "/v3/projects/project?project=web")[0] == 204
    assert ask(double, "GET", "/v3/projects/project?project=web")[0] == 404
    assert ask(double, "GET", "/v3/projects/project", SERVICE)[1]["project"]["slug"] == "app"


def test_an_identity_logs_in_and_out(double: Doppler) -> None:
    double.add_identity("i", "proof")
    assert ask(double, "POST", "/v3/auth/oidc", body={"identity": "i", "token": "x"})[0] == 401
    token = ask(double, "POST", "/v3/auth/oidc", body={"identity": "i", "token": "proof"})[1]["token"]
    assert ask(double, "GET", f"{CONFIG}/secrets/download?{BOTH}", token)[0] == 200
    assert ask(double, "POST", "/v3/auth/revoke", body={"token": token})[0] == 200
    assert ask(double, "GET", f"{CONFIG}/secrets/download?{BOTH}", token)[0] == 401


def test_it_is_told_what_to_do_from_outside(double: Doppler) -> None:
    assert (
        ask(double, "POST", "/_double/configs", body={"project": "x", "config": "dev", "values": {"A": "1"}})[0] == 200
    )
    assert ask(double, "POST", "/_double/tokens", body={"value": "dp.st.x", "configs": ["x/dev"]})[0] == 200
    ask(double, "POST", "/_double/faults", body={"kind": "status", "status": 500, "times": 9})
    assert ask(double, "GET", f"{CONFIG}/secrets/download", "dp.st.x")[0] == 500
    ask(double, "DELETE", "/_double/faults")
    assert ask(double, "GET", f"{CONFIG}/secrets/download", "dp.st.x")[1]["A"] == "1"
    assert [each["status"] for each in ask(double, "GET", "/_double/log")[1]] == [500, 200]
    ask(double, "DELETE", "/_double/log")
    assert double.log == []
