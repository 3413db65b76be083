"""The rules of the document: every malformed one is refused where it is wrong, valid ones pass, secrets stay out."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _site_validate as validation
from ansible_collections.sapflux.hosting.plugins.module_utils._site_complete import complete
from ansible_collections.sapflux.hosting.plugins.module_utils._site_schema import MASK, Problem

from tests.unit.fixtures import SECRETS, Mutation, document, drop, put
from tests.unit.plugins.module_utils.site_cases import CASES, PRODUCTION, R2_MADE, Case, rsa_key

LITERAL = "hunter2-literal"
SAFE_WEB = put("services[1].routes", [{"path": "/admin/*", "visibility": "never"}, {"path": "/*"}])

VALID: dict[str, tuple[Mutation, ...]] = {
    "every key": (),
    "secrets of the run from Doppler": (put("secrets", {"provider": "doppler"}),),
    "nothing from Doppler": (drop("services[0].doppler"), drop("artifacts.doppler")),
    "production": (*PRODUCTION, SAFE_WEB),
    "the bucket of the backups is made": R2_MADE,
    "nothing at Cloudflare": (drop("cloudflare"),),
    "a zone and nothing else": (put("cloudflare", {"zone": "sapflux.test"}),),
    "no services": (put("services", []),),
    "no databases": (
        put("postgres", {}),
        put("services", []),
    ),
    "optional sections left empty": tuple(put(key, None) for key in ("host", "network", "docker", "tls")),
    "optional sections left out": tuple(drop(key) for key in ("host", "network", "docker", "tls")),
    "the web server behind Cloudflare": (put("network.https_cidrs", ["cloudflare", "192.0.2.7/32"]),),
    "memory to the last MiB": (put("services[0].memory_mb", 2048 - 700 - 256 - 256),),
    "a key with options": (
        put(
            "admin.authorized_keys[+]",
            'from="192.0.2.0/24" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB me',
        ),
    ),
    "an RSA key that is long enough": (put("admin.authorized_keys[0]", rsa_key(3072)),),
    "a service on the bare domain": (put("services[0].hostname", None), put("services[1].hostname", "sapflux.test")),
    "migration below a closed path in production": (
        *PRODUCTION,
        SAFE_WEB,
        put("services[0].migrate", "/admin/migrate"),
    ),
}


def lines(problems: list[Problem]) -> str:
    """All problems as a person reads them."""
    return "\n".join(map(str, problems))


def test_there_are_at_least_sixty_malformed_documents() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_malformed_document_is_refused_where_it_is_wrong(case: Case) -> None:
    problems = validation.validate(document(*case.mutations))
    here = [str(problem) for problem in problems if problem.path == case.path]
    assert len(here) == 1, lines(problems)
    for fragment in case.says:
        assert fragment in here[0]
    assert "\n" not in here[0]
    assert LITERAL not in lines([problem for problem in problems if "endpoint" not in problem.path])


@pytest.mark.parametrize("name", VALID)
def test_valid_document_has_no_problem(name: str) -> None:
    assert lines(validation.validate(document(*VALID[name]))) == ""


def test_all_problems_are_reported_at_once_in_the_order_of_the_document() -> None:
    chosen = (put("name", "X"), put("domian", 1), put("backup.keep_full", 1), put("services[1].image", "x:latest"))
    paths = [problem.path for problem in validation.validate(document(*chosen))]
    assert paths == ["site.domian", "site.name", "site.backup.keep_full", "site.services[1].image"]


def test_ten_items_are_reported_in_their_order() -> None:
    services = [
        {"name": f"s{index}", "image": "x", "port": 80, "hostname": f"s{index}.sapflux.test", "memory_mb": 16}
        for index in range(11)
    ]
    paths = [problem.path for problem in validation.validate(document(put("services", services)))]
    assert paths == [f"site.services[{index}].image" for index in range(11)]


@pytest.mark.parametrize("value", [None, "text", 7, [], True])
def test_something_that_is_no_document_is_one_problem(value: Any) -> None:
    problems = validation.validate(value)
    assert [problem.path for problem in problems] == ["site"]
    with pytest.raises(TypeError, match="is not a mapping"):
        complete(value)


def test_an_empty_document_names_everything_that_is_missing() -> None:
    paths = {problem.path for problem in validation.validate({})}
    keys = ("name", "environment", "domain", "admin", "artifacts", "backup", "secrets")
    assert paths == {f"site.{key}" for key in keys}


def test_a_misspelt_key_is_one_problem_and_not_two() -> None:
    problems = validation.validate(document(put("domian", "sapflux.test"), drop("domain")))
    assert [problem.path for problem in problems] == ["site.domian"]


def test_defaults_come_from_the_schema_and_from_other_keys() -> None:
    site = complete(
        document(
            *(drop(key) for key in ("host", "network", "docker", "tls")),
            drop("services[0].hostname"),
            drop("services[0].health"),
            drop("postgres.databases[0].owner"),
        )
    )
    assert site["host"]["updates"] == {"enabled": True, "reboot": True, "reboot_time": "09:30"}
    assert site["network"]["ssh_cidrs"] == ["0.0.0.0/0", "::/0"]
    assert site["docker"]["insecure_registries"] == []
    assert (site["tls"]["mode"], site["tls"]["hsts_max_age"]) == ("internal", 300)
    assert site["tls"]["origin_pulls"] == {"state": "untouched", "certificate": None, "private_key": None}
    assert site["postgres"]["databases"][0]["owner"] == "app_owner"
    api, web = site["services"]
    assert api["hostname"] == "api.sapflux.test"
    assert api["health"] == {"path": "/health", "timeout": 60}
    assert api["env"]["WORKERS"] == "2"
    assert [route["visibility"] for route in web["routes"]] == ["never", "public"]
    assert (web["memory_mb"], web["user"], web["tmpfs"], web["ready"]) == (256, "10001:10001", ["/tmp"], None)


def test_completing_does_not_change_the_document_and_is_stable() -> None:
    given, same = document(), document()
    once = complete(given)
    assert given == same
    assert complete(once) == once
    once["services"][1]["routes"].append("x")
    assert len(complete(document())["services"][1]["routes"]) == 2


SECRET_CASES = [
    (
        "missing, with a near name",
        {**SECRETS, "BACKUP_ACCES_KEY_ID": "x"},
        "BACKUP_ACCESS_KEY_ID",
        "did you mean ${BACKUP_ACCES_KEY_ID}?",
    ),
    ("missing", SECRETS, "REPORT_DB_PASSWORD", "is not in the secret store; add REPORT_DB_PASSWORD to it"),
    ("empty", {**SECRETS, "REPORT_DB_PASSWORD": ""}, None, "is empty in the secret store"),
]


@pytest.mark.parametrize(("name", "secrets", "removed", "says"), SECRET_CASES, ids=lambda value: str(value)[:30])
def test_references_must_have_values(name: str, secrets: dict[str, str], removed: str | None, says: str) -> None:
    problems = validation.validate_secrets(document(), {key: value for key, value in secrets.items() if key != removed})
    assert says in lines(problems), name
    assert not [value for value in SECRETS.values() if value in lines(problems)]


def test_a_reference_is_reported_at_every_place_that_uses_it() -> None:
    problems = validation.validate_secrets(document(), {})
    assert [problem.path for problem in problems] == [
        "site.hetzner.token",
        "site.cloudflare.api_token",
        "site.cloudflare.buckets[0].access_key_id",
        "site.cloudflare.buckets[0].secret_access_key",
        "site.cloudflare.doppler.token",
        "site.cloudflare.origin.certificate",
        "site.cloudflare.origin.private_key",
        "site.cloudflare.tokens[0].value",
        "site.postgres.users[0].password",
        "site.postgres.users[1].password",
        "site.backup.access_key_id",
        "site.backup.encryption_key",
        "site.backup.read_access_key_id",
        "site.backup.read_secret_access_key",
        "site.backup.secret_access_key",
        "site.services[0].doppler.token",
        "site.services[0].secrets.DATABASE_URL",
        "site.services[0].secrets.S3_SECRET_ACCESS_KEY",
    ]


def test_a_password_that_would_break_a_url_is_reported() -> None:
    url = put("services[0].secrets.DATABASE_URL", "postgres://app:${APP_DB_PASSWORD}@localhost/app")
    problems = validation.validate_secrets(document(url), SECRETS)
    assert [problem.path for problem in problems] == ["site.services[0].secrets.DATABASE_URL"]
    assert "write ${APP_DB_PASSWORD:url}" in str(problems[0])
    assert SECRETS["APP_DB_PASSWORD"] not in str(problems[0])
    assert validation.validate_secrets(document(url), {**SECRETS, "APP_DB_PASSWORD": "plain-1.0_~"}) == []


def test_a_clerk_key_of_a_development_instance_behind_a_name_is_refused_in_production() -> None:
    clerk = put("services[0].secrets.CLERK_SECRET_KEY", "${CLERK}")
    secrets = {**SECRETS, "CLERK": "sk_test_marker"}
    assert validation.validate_secrets(document(clerk), secrets) == []
    problems = validation.validate_secrets(document(*PRODUCTION, clerk), secrets)
    assert [problem.path for problem in problems] == ["site.services[0].secrets.CLERK_SECRET_KEY"]
    assert "sk_test_marker" not in lines(problems)


def test_what_a_later_step_makes_may_be_missing_until_then() -> None:
    store = {key: value for key, value in SECRETS.items() if key != "CADDY_CLOUDFLARE_TOKEN"}
    assert validation.validate_secrets(document(), store, ["CADDY_CLOUDFLARE_TOKEN"]) == []
    late = validation.validate_secrets(document(), store, ["CADDY_CLOUDFLARE_TOKEN"], before=False)
    assert [str(problem) for problem in late] == [
        "site.cloudflare.tokens[0].value: ${CADDY_CLOUDFLARE_TOKEN} is not in the secret store; "
        "run clouds.yml, which makes it"
    ]
    empty = validation.validate_secrets(document(), {**store, "CADDY_CLOUDFLARE_TOKEN": ""}, ["CADDY_CLOUDFLARE_TOKEN"])
    assert [problem.path for problem in empty] == ["site.cloudflare.tokens[0].value"]


def test_two_keys_of_clerk_must_be_of_one_instance() -> None:
    clerk = put("services[0].secrets.CLERK_SECRET_KEY", "${CLERK}")
    problems = validation.validate_secrets(document(clerk), {**SECRETS, "CLERK": "sk_live_marker"})
    assert {problem.path for problem in problems} == {"site.services[0].secrets.CLERK_SECRET_KEY"}
    assert "and the environment is local and PUBLIC_CLERK_PUBLISHABLE_KEY of the other instance" in lines(problems)
    assert "sk_live_marker" not in lines(problems)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        ("site.postgres.users[0].password", True),
        ("site.backup.secret_access_key", True),
        ("site.services[0].secrets.ANY", True),
        ("site.cloudflare.api_token", True),
        ("site.cloudflare.origin.private_key", True),
        ("site.cloudflare.tokens[0].value", True),
        ("site.cloudflare.doppler.token", True),
        ("site.cloudflare.tokens[0].name", False),
        ("site.services[0].env.API_TOKEN", True),
        ("site.services[0].doppler.token", True),
        ("site.services[0].doppler.only", False),
        ("site.services[0].env.PUBLIC_KEY", False),
        ("site.services[0].env.RUST_LOG", False),
        ("site.secrets.file", False),
    ],
)
def test_values_are_masked_by_their_place(path: str, secret: bool) -> None:
    assert validation.is_secret(path) is secret


def test_a_secret_of_the_wrong_type_is_masked() -> None:
    problems = validation.validate(document(put("backup.secret_access_key", 20120520)))
    assert MASK in lines(problems)
    assert "20120520" not in lines(problems)


def test_files_of_the_controller_are_checked(tmp_path: Any) -> None:
    program = tmp_path / "caddy"
    problems, read = validation.validate_files(document(put("artifacts.caddy.file", str(program))))
    assert "cannot be read (no such file or directory)" in lines(problems)
    assert read == []
    program.write_bytes(b"program")
    problems, read = validation.validate_files(document(put("artifacts.caddy.file", str(program))))
    right = hashlib.sha256(b"program").hexdigest()
    assert f"is not the digest of {program}; its digest is {right}" in lines(problems)
    assert read == [str(program)]
    good = document(put("artifacts.caddy.file", str(program)), put("artifacts.caddy.sha256", right))
    assert validation.validate_files(good) == ([], [str(program)])
