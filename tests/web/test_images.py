"""What the images promise: no root, nothing to write, an orderly stop, a health check, and where they come from."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest

from tests.bed import images
from tests.bed.shell import run, text, wait_for
from tests.web.stack import PATIENCE, Stack, ask

DEPLOYED = {"api": "8080/tcp", "web": "3000/tcp"}


def config(name: str) -> dict[str, Any]:
    """What the image says about itself."""
    found: dict[str, Any] = json.loads(
        text("docker", "image", "inspect", "--format", "{{json .Config}}", images.build(name))
    )
    return found


@pytest.mark.parametrize("name", [*DEPLOYED, "cli"])
def test_an_image_has_no_root_and_says_where_it_comes_from(stack: Stack, name: str) -> None:  # noqa: ARG001 - built by it
    found = config(name)
    assert found["User"] == "10001:10001"
    assert found["Labels"]["org.opencontainers.image.revision"]
    assert found["Labels"]["org.opencontainers.image.title"] == f"sapflux-{name}"
    if name in DEPLOYED:
        assert list(found["ExposedPorts"]) == [DEPLOYED[name]]
        assert found["Healthcheck"]["Test"][0] == "CMD"


def test_the_site_needs_nothing_but_node(stack: Stack) -> None:
    listing = run("docker", "exec", stack.container("site"), "find", "/app", "-name", "node_modules").stdout
    assert listing == b""
    assert run("docker", "exec", stack.container("site"), "touch", "/app/x", check=False).returncode != 0
    assert run("docker", "exec", stack.container("site"), "sh", "-c", "command -v npm", check=False).returncode != 0


@pytest.mark.parametrize(
    ("name", "program"), [("api", ("/app/sapflux-api", "healthcheck")), ("site", ("node", "/app/healthcheck.js"))]
)
def test_the_health_check_works_inside(stack: Stack, name: str, program: tuple[str, ...]) -> None:
    run("docker", "exec", stack.container(name), *program)
    wrong = "SAPFLUX_ADDR=0.0.0.0:1" if name == "api" else "PORT=1"
    assert run("docker", "exec", "--env", wrong, stack.container(name), *program, check=False).returncode == 1


def test_the_site_listens_where_it_is_told_to(stack: Stack) -> None:
    address = stack.start(
        "elsewhere", images.build("web"), "--env", "PORT=4000", "--env", "HOST=0.0.0.0", "--read-only"
    )
    url = f"http://{address}:4000/health"

    def healthy() -> bool:
        try:
            return ask(url).json()["status"] == "ok"  # type: ignore[no-any-return]
        except OSError:
            return False

    wait_for("an answer on port 4000", healthy, PATIENCE)


def test_wrong_settings_end_the_site_with_one_sentence() -> None:
    done = run("docker", "run", "--rm", "--env", "API_URL=nowhere", images.build("web"), check=False)
    assert done.returncode == 78
    message = done.stderr.decode().strip()
    assert message.startswith("sapflux-web: API_URL is")
    assert len(message.splitlines()) == 1


def test_a_stopping_site_ends_the_request_that_is_under_way(stack: Stack) -> None:
    # As PID 1, without a help: that is how a signal is lost.
    name = stack.container("stopping")
    stack.cleanup.callback(run, "docker", "rm", "--force", name, check=False)
    run("docker", "run", "--detach", "--name", name, "--network", stack.network, "--env", "API_URL=http://api:8080",
        "--read-only", images.build("web"))  # fmt: skip
    address = text("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)

    def listening() -> bool:
        try:
            return ask(f"http://{address}:3000/health").status == 200
        except OSError:
            return False

    wait_for("the site", listening, PATIENCE)
    body = b'{"a":1}'
    head = (
        f"POST /api/observations HTTP/1.1\r\nHost: site\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((address, 3000), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        # It waits for the body once it has said "continue": from here on the request is under way.
        assert connection.recv(64).startswith(b"HTTP/1.1 100 Continue")
        began = time.monotonic()
        stopped = threading.Thread(target=run, args=("docker", "stop", "--time", "60", name))
        stopped.start()

        def closed() -> bool:
            try:
                socket.create_connection((address, 3000), timeout=5).close()
            except OSError:
                return True
            return False

        wait_for("the end of new connections", closed, PATIENCE)
        connection.sendall(body)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        assert answer.startswith(b"HTTP/1.1 401"), answer
    stopped.join()
    assert time.monotonic() - began < 50
    assert text("docker", "inspect", "--format", "{{.State.ExitCode}}", name) == "0"


def test_logs_are_json_without_queries_or_secrets(stack: Stack) -> None:
    ask(f"{stack.site}/?token=hunter2-query")
    ask(f"{stack.api}/me?token=hunter2-query", token="hunter2.token.x")
    for name in ("api", "site"):
        lines = stack.logs(name).splitlines()
        assert any('"request"' in line for line in lines)
        assert not any("hunter2" in line for line in lines)
        # Node's adapter says once in its own words where it listens.
        for line in lines:
            assert line.startswith("Listening on") or isinstance(json.loads(line), dict)
