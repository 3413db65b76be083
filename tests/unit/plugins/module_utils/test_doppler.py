"""The client of Doppler's API: which tokens it takes, refusals with their way out and no value, what is tried again."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _doppler
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import Doppler, DopplerError, login, masked

from tests.doubles.doppler import doppler
from tests.doubles.web import Fault
from tests.unit.plugins.module_utils.scripted_http import Call, Script

BASE = "https://api.example.org"
TOKEN = f"dp.st.prd.{'A1' * 20}"
PERSON = f"dp.pt.{'B2' * 20}"
DOWNLOAD = "/v3/configs/config/secrets/download?format=json"


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Instead of waiting."""
    made: list[float] = []
    monkeypatch.setattr(_doppler, "pause", made.append)
    return made


def bad(*messages: str) -> dict[str, Any]:
    return {"messages": list(messages), "success": False}


def scripted(*calls: Call, token: str = TOKEN, **where: str) -> tuple[Doppler, Script]:
    """A client of a script."""
    script = Script(BASE, calls)
    return Doppler(token, base=f"{BASE}/", opener=script, **where), script


def refusal(*calls: Call) -> DopplerError:
    """How the first of ``calls`` is refused, all of them being made."""
    client, script = scripted(*calls)
    with pytest.raises(DopplerError) as caught:
        client.ask(calls[0].method, calls[0].url)
    script.done()
    return caught.value


def test_a_service_token_needs_no_names() -> None:
    client, script = scripted(
        Call("GET", DOWNLOAD, {"A": "1"}, headers={"ETag": "e1"}, sent_headers={"Authorization": f"Bearer {TOKEN}"}),
        Call("GET", DOWNLOAD, status=304, raw=b"", sent_headers={"If-None-Match": "e1"}),
    )
    assert client.download() == ({"A": "1"}, "e1")
    assert client.download(etag="e1") == (None, "e1")
    script.done()


@pytest.mark.parametrize("kind", ["ct", "pt", "sa", "said"])
def test_every_other_token_needs_both_names(kind: str) -> None:
    token = f"dp.{kind}.{'C3' * 20}"
    for project, config in ((None, None), ("app", None), (None, "prd")):
        with pytest.raises(DopplerError, match="give both project and config, or use a service token") as caught:
            Doppler(token, project, config, BASE)
        assert token not in str(caught.value)
    client, script = scripted(
        Call("GET", "/v3/configs/config/secrets/download?project=app&config=prd&format=json&secrets=A%2CB", {}),
        token=token, project="app", config="prd",
    )  # fmt: skip
    assert client.download(["B", "A"]) == ({}, "")
    script.done()


@pytest.mark.parametrize("token", ["", "se cret\n", "dp.st.x\r\nX: y", "ghp_xyz"])
def test_what_cannot_be_a_token_is_refused_before_it_is_sent(token: str) -> None:
    with pytest.raises(DopplerError, match="token is no token of Doppler") as caught:
        Doppler(token)
    assert caught.value.status == -1
    assert not token.strip() or token not in str(caught.value)


@pytest.mark.parametrize("kind", ["scim", "audit"])
def test_tokens_that_read_no_secrets(kind: str) -> None:
    with pytest.raises(DopplerError, match=f"dp.{kind} does not read configs"):
        Doppler(f"dp.{kind}.{'D4' * 20}", "app", "prd")


@pytest.mark.parametrize(
    ("status", "message", "way"),
    [
        (401, "Invalid Service token", "check that the token is whole, neither revoked nor expired"),
        (400, "Invalid Auth token.", "check that the token is whole"),
        (404, "Could not find requested config 'x'", "a service account also needs a role in the workplace"),
        (403, "This token does not have write access", "give the token access to this config"),
    ],
)
def test_refusals_are_final_and_name_the_way_out(status: int, message: str, way: str, pauses: list[float]) -> None:
    error = refusal(Call("GET", "/x", bad(message), status=status))
    assert str(error).startswith(f"Doppler answered GET /x with {status}: {message.rstrip('.')}; ")
    assert way in str(error)
    assert (error.status, pauses) == (status, [])


def test_a_5xx_with_json_is_final_and_a_page_is_not(pauses: list[float]) -> None:
    assert "with 500: Internal" in str(refusal(Call("GET", "/x", bad("Internal"), status=500)))
    assert pauses == []
    page = Call("GET", "/x", raw=b"<html>", status=502, headers={"Content-Type": "text/html"})
    client, script = scripted(page, Call("GET", "/x", {"ok": 1}))
    assert client.ask("GET", "/x").body == {"ok": 1}
    script.done()
    assert pauses == [0.5]
    error = refusal(*[page] * 5)
    assert str(error) == "Doppler answered GET /x with 502: a page that is no JSON (text/html)"


def test_a_rate_limit_is_waited_for(pauses: list[float]) -> None:
    client, script = scripted(
        Call("GET", "/x", bad("Rate limit exceeded"), status=429, headers={"Retry-After": "7"}), Call("GET", "/x", {})
    )
    client.ask("GET", "/x")
    script.done()
    assert pauses == [7.0]


def test_a_write_that_failed_is_not_repeated() -> None:
    client, script = scripted(Call("POST", "/x", error=OSError("reset by peer"), body={"secrets": {"A": "v"}}))
    with pytest.raises(DopplerError, match="look before you repeat it") as caught:
        client.ask("POST", "/x", {"secrets": {"A": "v"}})
    script.done()
    assert caught.value.status == 0


def test_no_answer_brings_a_value_into_a_message() -> None:
    client, _script = scripted(
        Call("POST", "/x", bad('Value 42 and line\none ("line\\none") of A', f"token {PERSON}, {TOKEN}"), status=400)
    )
    client.hide(["42", "line\none", "e", None])
    with pytest.raises(DopplerError) as caught:
        client.ask("POST", "/x", {})
    assert 'Value ******** and ******** ("********") of A; token ********, ********' in str(caught.value)


def test_short_values_are_hidden_where_they_stand_alone() -> None:
    assert masked("the 1 of 11", ["1", "", " "]) == "the ******** of 11"


@pytest.mark.parametrize("body", [None, [], {"messages": "text"}, {}])
def test_odd_bodies_have_no_reasons(body: Any) -> None:
    assert "no reason given" in str(refusal(Call("GET", "/x", body, status=400)))


@pytest.mark.parametrize("body", [["A"], {"A": 1}, {"A": {"raw": "x"}}])
def test_a_download_that_is_no_map_of_texts_is_refused(body: Any) -> None:
    client, _script = scripted(Call("GET", DOWNLOAD, body))
    with pytest.raises(DopplerError, match="something else than names and texts"):
        client.download()


def test_the_login_of_an_identity() -> None:
    given = f"dp.said.{'E5' * 20}"
    asked = {"identity": "i-1", "token": "j.w.t"}
    script = Script(BASE, [Call("POST", "/v3/auth/oidc", {"token": given}, body=asked)])
    assert login("i-1", "j.w.t", BASE, script) == given
    for answer in ({}, {"token": "odd"}):
        with pytest.raises(DopplerError, match="without a token"):
            login("i-1", "j.w.t", BASE, Script(BASE, [Call("POST", "/v3/auth/oidc", answer)]))
    script = Script(BASE, [Call("POST", "/v3/auth/oidc", bad("no j.w.t"), status=401)])
    with pytest.raises(DopplerError, match=r"401: no \*+; check that the token"):
        login("i-1", "j.w.t", BASE, script)


def test_against_the_double() -> None:
    moment = 1_790_000_000.5
    double = doppler(lambda: moment)
    double.add_config("app", "prd", {"HOST": "db", "URL": "pg://${HOST}/${NOWHERE}"})
    double.add_token(TOKEN, ["app/prd"])
    double.add_identity("i-1", "j.w.t", ["app/prd"])
    with double.running() as url:
        client = Doppler(TOKEN, base=url)
        values, etag = client.download()
        assert values == {
            "DOPPLER_CONFIG": "prd", "DOPPLER_ENVIRONMENT": "prd", "DOPPLER_PROJECT": "app",
            "HOST": "db", "URL": "pg://db/${NOWHERE}",
        }  # fmt: skip
        assert client.download(etag=etag) == (None, etag)
        double.configs["app/prd"].values["HOST"] = "db2"
        again, other = client.download(etag=etag)
        assert again is not None
        assert (again["URL"], other == etag) == ("pg://db2/${NOWHERE}", False)
        assert {name: each["raw"] for name, each in client.raw().items()} == double.configs["app/prd"].values
        assert Doppler(login("i-1", "j.w.t", url), "app", "prd", url).download(["HOST"])[0] == {"HOST": "db2"}
        # A storm passes, and a cut connection too.
        double.faults = [Fault("cut"), Fault("page"), Fault("status", status=429, headers={"retry-after": "1"})]
        assert client.download(etag=other) == (None, other)
        double.limits["secrets"] = 0
        with pytest.raises(DopplerError, match="asked too often; wait 60 s"):
            client.download()
