"""A Compose project from services: hardening, pinning, and secrets that stay out of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sapflux.hosting.plugins.filter.compose import FilterModule, compose_project
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_host import dotenv_values
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_model import bridge_name, dotenv
from ansible_collections.sapflux.hosting.plugins.module_utils._compose_wish import unpacked_secrets

DIGEST = "sha256:" + "a" * 64
MARKER = "s3cret-marker"


def service(**changes: Any) -> dict[str, Any]:
    """One good service."""
    return {"name": "api", "image": f"r.example:5000/x/api@{DIGEST}", "port": 8080, "host_port": 18080, **changes}


def rendered(**changes: Any) -> dict[str, Any]:
    """Compose's view of one service."""
    return dict(json.loads(record(**changes)["definition"]))


def record(**changes: Any) -> dict[str, Any]:
    """The module's view of one service."""
    services = compose_project([service(**changes)], "shop")["services"]
    assert isinstance(services, list)
    return dict(services[0])


def test_the_filter_is_offered_under_its_name() -> None:
    assert FilterModule().filters() == {"compose_project": compose_project}


def test_a_service_is_hardened_without_being_asked_to() -> None:
    assert rendered() == {
        "image": f"r.example:5000/x/api@{DIGEST}",
        "init": True,
        "user": "10001:10001",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": "256m",
        "memswap_limit": "256m",
        "pids_limit": 256,
        "oom_score_adj": 500,
        "restart": "unless-stopped",
        "stop_grace_period": "30s",
        "logging": {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}},
        "ports": ["127.0.0.1:{sapflux:port}:8080"],
        "tmpfs": ["/tmp:size=64m,mode=1777,noexec,nosuid,nodev"],
        "labels": {
            "com.sapflux.project": "shop",
            "com.sapflux.service": "api",
        },
    }


def test_the_project_has_a_network_of_its_own() -> None:
    document = json.loads(str(compose_project([service()], "shop")["compose"]))
    assert document["name"] == "shop"
    options = document["networks"]["default"]["driver_opts"]
    assert options["com.docker.network.bridge.name"] == "br-shop"
    assert options["com.docker.network.bridge.host_binding_ipv4"] == "127.0.0.1"


@pytest.mark.parametrize("project", ["a", "abcdefghijkl", "abcdefghijklm", "a" * 31])
def test_the_name_of_the_bridge_fits_an_interface(project: str) -> None:
    assert len(bridge_name(project)) <= 15
    assert bridge_name(project) == bridge_name(project)


def test_long_projects_with_one_beginning_have_two_bridges() -> None:
    assert bridge_name("observations-one") != bridge_name("observations-two")


def test_secrets_are_not_in_the_compose_file_nor_in_what_the_hash_shows() -> None:
    result = compose_project([service(secrets={"TOKEN": MARKER})], "shop")
    assert MARKER not in str(result["compose"])
    assert MARKER not in json.dumps(result)
    assert unpacked_secrets(str(result["secrets"])) == {"api": f"TOKEN='{MARKER}'\n"}
    container = rendered(secrets={"TOKEN": MARKER})
    assert container["environment"] == {"SECRETS_FILE": "/run/secrets/env"}
    assert container["volumes"] == [
        {
            "type": "bind",
            "source": "/run/sapflux/app/shop/{sapflux:slot}.env",
            "target": "/run/secrets/env",
            "read_only": True,
            "bind": {"create_host_path": False},
        }
    ]


def test_the_database_socket_is_mounted_only_when_asked_for() -> None:
    assert "volumes" not in rendered()
    mount = rendered(database_socket=True)["volumes"][0]
    assert (mount["source"], mount["target"]) == ("/run/postgresql", "/var/run/postgresql")


def test_the_authority_is_a_copy_that_the_container_can_read() -> None:
    (mount,) = rendered(ca_file="/var/lib/caddy/root.crt")["volumes"]
    assert (mount["source"], mount["target"]) == ("{sapflux:base}/ca.crt", "/etc/sapflux/ca.crt")


def test_assets_are_those_of_all_kept_releases() -> None:
    (mount,) = rendered(assets=["/app/immutable"])["volumes"]
    assert (mount["source"], mount["target"]) == ("{sapflux:base}/assets/api/0", "/app/immutable")


def test_the_plain_name_of_a_service_means_one_container() -> None:
    assert "networks" not in rendered()
    assert rendered(blue_green=False)["networks"] == {"default": {"aliases": ["api"]}}


def test_the_second_port_is_the_next_one_unless_said_otherwise() -> None:
    assert record()["standby_port"] == 18081
    assert record(standby_port=19000)["standby_port"] == 19000
    one = compose_project([service(blue_green=False), service(name="web", host_port=18081)], "shop")
    assert one["services"], "a service with one port takes one"


def test_everything_that_can_be_said_of_a_service() -> None:
    container = rendered(
        memory_mb=64,
        user="5:6",
        read_only=False,
        tmpfs=["/a", "/b:size=1m"],
        env={"RUST_LOG": "info", "N": 3, "ON": True},
        extra_hosts=["db:10.0.0.5", "gw:host-gateway", "six:fd00::1"],
    )
    assert (container["mem_limit"], container["user"], container["read_only"]) == ("64m", "5:6", False)
    assert container["tmpfs"] == ["/a:size=64m,mode=1777,noexec,nosuid,nodev", "/b:size=1m"]
    assert container["environment"] == {"RUST_LOG": "info", "N": "3", "ON": "true"}
    assert container["extra_hosts"] == ["db:10.0.0.5", "gw:host-gateway", "six:fd00::1"]


def test_a_dollar_sign_is_not_left_for_compose_to_replace() -> None:
    assert rendered(env={"PRICE": "$5 ${HOME}"})["environment"] == {"PRICE": "$$5 $${HOME}"}


def test_the_record_tells_how_to_ask_the_service() -> None:
    only = record(user="7:8", health_path="/h", health_timeout=9, ready_path="/r", migrate_path="/m")
    assert {
        key: only[key] for key in ("uid", "gid", "health_path", "health_timeout", "ready_path", "migrate_path")
    } == {
        "uid": 7,
        "gid": 8,
        "health_path": "/h",
        "health_timeout": 9,
        "ready_path": "/r",
        "migrate_path": "/m",
    }
    assert record(user="7")["gid"] == 7
    assert json.loads(only["definition"])["user"] == "7:8"


def test_the_definition_changes_with_anything_the_container_sees() -> None:
    assert (
        len({record(**{key: value})["definition"] for key, value in (("port", 1), ("port", 2), ("memory_mb", 99))}) == 3
    )


@pytest.mark.parametrize(
    "value",
    ["plain", "with space", "it's", 'say "hi"', "a\\b", "$HOME", "-----BEGIN\nline\n", "", "#no comment", "it's $5\\n"],
)
def test_a_secret_survives_the_dotenv_file(value: str) -> None:
    assert dotenv_values(dotenv({"KEY": value})) == [value]
    assert len(dotenv({"KEY": value}).splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "r.example/x:latest"}, "service api: image is 'r.example/x:latest'; write name@sha256"),
        ({"image": f"x@{DIGEST[:-1]}"}, "a tag can change under you"),
        ({"name": "API"}, r"services\[0\].name is 'API'"),
        ({"name": "a" * 32}, "short name"),
        ({"port": 0}, "port is 0; write a whole number from 1 to 65535"),
        ({"host_port": 80}, "host_port is 80; write a whole number from 1024"),
        ({"host_port": True}, "host_port is True"),
        ({"health_path": "health"}, "health_path is 'health'; write a path beginning with /"),
        ({"health_timeout": "soon"}, "health_timeout is 'soon'"),
        ({"ready_path": "/a b"}, "ready_path"),
        ({"memory_mb": 1}, "memory_mb is 1"),
        ({"user": "root"}, "numeric ids such as 10001:10001"),
        ({"read_only": "yes"}, "read_only is 'yes'; write true or false"),
        ({"standby_port": 80}, "standby_port is 80; write a whole number from 1024"),
        ({"blue_green": "no"}, "blue_green is 'no'; write true or false"),
        ({"migrate_irreversible": 1}, "migrate_irreversible is 1"),
        ({"drain_sql": ["SELECT 1"]}, "drain_sql is a list; write a query"),
        ({"drain_sql": "SELECT 1"}, "drain_sql needs drain_database"),
        ({"drain_database": "a b"}, "drain_database is 'a b'; write the name of a database"),
        ({"drain_timeout": -1}, "drain_timeout is -1"),
        ({"stop_grace": "long"}, "stop_grace is 'long'"),
        ({"assets": ["assets"]}, r"assets\[0\] is 'assets'; write an absolute path in the container"),
        ({"tmpfs": "/tmp"}, "tmpfs is a str; write a list"),
        ({"tmpfs": ["tmp"]}, r"tmpfs\[0\] is 'tmp'"),
        ({"env": ["A=1"]}, "env is a list; write a dictionary"),
        ({"env": {"1A": "x"}}, "a name in .* env is '1A'"),
        ({"env": {"A": None}}, r"env.A is a NoneType; write a text in quotes"),
        ({"env": {"A": "x\ny"}}, "env.A holds a line break"),
        ({"env": {"A": "x"}, "secrets": {"A": "y"}}, "A is set in env and by secrets"),
        ({"env": {"SECRETS_FILE": "x"}}, "SECRETS_FILE is set in env and by secrets"),
        ({"secrets_path": "run/x"}, "secrets_path"),
        ({"extra_hosts": ["db"]}, "write name:address"),
        ({"extra_hosts": ["db:somewhere"]}, "write name:address"),
        ({"privileged": True}, "unknown key 'privileged'"),
    ],
)
def test_what_cannot_become_a_container_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        compose_project([service(**changes)], "shop")


@pytest.mark.parametrize("value", [[MARKER], {"a": MARKER}, f"{MARKER}\0"])
def test_a_refused_secret_is_not_shown(value: object) -> None:
    with pytest.raises(AnsibleFilterError) as error:
        compose_project([service(secrets={"TOKEN": value})], "shop")
    assert "secrets.TOKEN" in str(error.value)
    assert MARKER not in str(error.value)


@pytest.mark.parametrize(
    ("services", "project", "said"),
    [
        ("api", "shop", "the services are a str"),
        ([1], "shop", r"services\[0\] is a int"),
        ([{"name": "api"}], "shop", r"services\[0\] lacks image, port, host_port"),
        ([service(), service(host_port=18082)], "shop", "the name api is given to two services"),
        ([service(), service(name="web")], "shop", "the host port 18080 is given to two services or slots"),
        ([service(), service(name="web", host_port=18081)], "shop", "the host port 18081 is given to two"),
        ([service()], "Shop", "the project name is 'Shop'"),
    ],
)
def test_wrong_projects_are_refused(services: object, project: str, said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        compose_project(services, project)
