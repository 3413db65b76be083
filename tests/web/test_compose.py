"""compose.yaml, read by Compose itself: images are arguments, nothing is open to the network, roots are read-only."""

from __future__ import annotations

import json
from typing import Any

from tests.bed import images
from tests.bed.shell import run

OURS = ("api", "web", "cli")


def config(**variables: str) -> dict[str, Any]:
    """The services as Compose understands them, with these variables set."""
    environment = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
    mounted = ("--volume", f"{images.APP}:/app:ro", "--network", "none", "--tmpfs", "/tmp:mode=1777")
    arguments = ("--project-directory", "/app", "--profile", "cli", "config", "--format", "json")
    done = run("docker", "run", "--rm", *mounted, *environment, images.build("compose"), *arguments)
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


def test_what_runs_is_an_argument() -> None:
    names = {
        "postgis": "POSTGIS_IMAGE",
        "minio": "MINIO_IMAGE",
        "api": "API_IMAGE",
        "web": "WEB_IMAGE",
        "cli": "CLI_IMAGE",
    }
    services = config(BASE_IMAGE="base:1", **{variable: f"{name}:1" for name, variable in names.items()})
    assert {name: service["image"] for name, service in services.items()} == {name: f"{name}:1" for name in names}
    for name in OURS:
        assert services[name]["build"]["args"] == {"BASE_IMAGE": "base:1"}
    defaults = config()
    assert all(":" in service["image"] and "latest" not in service["image"] for service in defaults.values())


def test_nothing_is_open_to_the_network() -> None:
    ports = {
        (name, port["published"], port.get("host_ip"))
        for name, service in config().items()
        for port in service.get("ports", [])
    }
    assert ports == {("minio", "9001", "127.0.0.1"), ("api", "8080", "127.0.0.1"), ("web", "3000", "127.0.0.1")}


def test_our_containers_write_nothing_and_may_do_nothing() -> None:
    for name, service in config().items():
        if name in OURS:
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]


def test_signing_in_is_one_variable() -> None:
    off, on = config(), config(CLERK_PUBLISHABLE_KEY="pk_test_x")
    assert not off["api"]["environment"]["CLERK_PUBLISHABLE_KEY"]
    assert not off["api"]["environment"]["CLERK_AUTHORIZED_PARTIES"]
    assert on["api"]["environment"]["CLERK_AUTHORIZED_PARTIES"] == on["web"]["environment"]["ORIGIN"]
    assert on["web"]["environment"]["PUBLIC_CLERK_PUBLISHABLE_KEY"] == "pk_test_x"
