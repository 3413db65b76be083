"""Clerk's keys, by what they say of themselves."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._clerk import clerk_problems, host_of


def pk(host: str, kind: str = "live") -> str:
    return f"pk_{kind}_{base64.b64encode(f'{host}$'.encode()).decode()}"


LIVE = {"PUBLIC_CLERK_PUBLISHABLE_KEY": pk("clerk.example.org"), "CLERK_SECRET_KEY": "sk_live_" + "a1" * 20}
TEST = {
    "CLERK_PUBLISHABLE_KEY": pk("brave-owl-7.clerk.accounts.dev", "test"),
    "CLERK_SECRET_KEY": "sk_test_" + "b2" * 20,
}


def kinds(values: dict[str, str], environment: str = "production") -> list[tuple[str, str]]:
    return [(found.kind, found.name) for found in clerk_problems(values, environment, "example.org")]


def test_the_keys_of_the_right_instance_are_good() -> None:
    assert kinds(LIVE) == []
    assert kinds(TEST, "local") == []
    assert kinds({"TOKEN": "sk_test_x", "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_x"}) == []


def test_the_host_of_a_key_is_read_with_and_without_padding() -> None:
    assert host_of("pk_test_ZXhhbXBsZS5hY2NvdW50cy5kZXYk") == "example.accounts.dev"
    assert host_of(pk("clerk.example.org").rstrip("=")) == "clerk.example.org"


@pytest.mark.parametrize(
    "value",
    [
        "pk_live_",
        "pk_live_%%%",
        "sk_live_" + "a1" * 20,
        "pk_live_" + base64.b64encode(b"clerk.example.org").decode(),
        "pk_live_" + base64.b64encode(b"\xff\xfe$").decode(),
        "pk_live_" + base64.b64encode(b"a b$").decode(),
        "pk_prod_" + base64.b64encode(b"clerk.example.org$").decode(),
        pk("clerk.example.org") + " ",
    ],
)
def test_what_is_no_key_is_refused(value: str) -> None:
    assert kinds({"CLERK_PUBLISHABLE_KEY": value}) == [("shape", "CLERK_PUBLISHABLE_KEY")]


def test_a_publishable_key_in_the_secret_ones_place_is_refused() -> None:
    assert kinds({"CLERK_SECRET_KEY": pk("clerk.example.org")}) == [("shape", "CLERK_SECRET_KEY")]


def test_keys_of_the_other_instance_are_refused_both_ways() -> None:
    assert kinds(TEST) == [("instance", "CLERK_PUBLISHABLE_KEY"), ("instance", "CLERK_SECRET_KEY")]
    assert [kind for kind, _name in kinds(LIVE, "local")] == ["instance", "instance"]


def test_a_mixed_pair_is_refused_and_both_are_named() -> None:
    mixed = {**LIVE, "CLERK_SECRET_KEY": TEST["CLERK_SECRET_KEY"]}
    (found,) = clerk_problems(mixed, "production", "example.org")
    assert (found.kind, found.name) == ("instance", "CLERK_SECRET_KEY")
    assert "development instance, and the environment is production and PUBLIC_CLERK_PUBLISHABLE_KEY of" in found.reason


def test_the_key_of_another_domain_is_refused_and_both_are_named() -> None:
    found = clerk_problems({"CLERK_PUBLISHABLE_KEY": pk("clerk.other.org")}, "production", "example.org")
    assert [str(each) for each in found] == [
        "CLERK_PUBLISHABLE_KEY belongs to clerk.other.org and not to clerk.example.org; "
        "store the key of the instance whose domain is example.org"
    ]
    assert kinds({"CLERK_PUBLISHABLE_KEY": pk("clerk.example.org", "test")}, "local") == [
        ("host", "CLERK_PUBLISHABLE_KEY")
    ]


def test_no_message_holds_a_secret_key() -> None:
    for values in ({**LIVE, **TEST}, {"CLERK_SECRET_KEY": "marker-of-a-key"}):
        for environment in ("local", "production"):
            told = " ".join(str(found) for found in clerk_problems(values, environment, "example.net"))
            assert not [value for name, value in values.items() if "SECRET" in name and value in told]
