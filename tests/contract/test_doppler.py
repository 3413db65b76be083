"""Our requests to Doppler and our double's answers keep to the description of the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._doppler import Doppler, DopplerError, login
from ansible_collections.sapflux.hosting.plugins.modules import doppler_secrets, doppler_service_token

from tests.contract.proxy import Proxy
from tests.unit.plugins.modules.doppler_module import TOKEN, Runner

VALUES = {"A": "a-marker-xyzzy", "URL": "pg://${A}"}


SPEC = ("doppler",)
pytestmark = pytest.mark.usefixtures("kept")


@pytest.fixture
def runner(proxy: Proxy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(doppler_secrets, capsys, monkeypatch)
    made.port, made.through = proxy.upstream, proxy.url
    return made


def test_downloads(runner: Runner, proxy: Proxy) -> None:
    with runner.double(VALUES) as double:
        client = Doppler(TOKEN, "app", "prd", proxy.url)
        values, etag = client.download()
        assert values is not None
        assert values["URL"] == "pg://a-marker-xyzzy"
        assert client.download(etag=etag) == (None, etag)
        assert client.download(["A"])[0] == {"A": VALUES["A"]}
        double.add_token(service := f"dp.st.prd.{'Z9' * 20}", ["app/prd"])
        assert Doppler(service, base=proxy.url).download()[0] == values


def test_an_identity_logs_in(runner: Runner, proxy: Proxy) -> None:
    with runner.double(VALUES) as double:
        double.add_identity("i-1", "j.w.t")
        client = Doppler(login("i-1", "j.w.t", proxy.url), "app", "prd", proxy.url)
        assert client.download(["A"])[0] == {"A": VALUES["A"]}


def test_secrets(runner: Runner) -> None:
    with runner.double({"OLD": "old-marker-xyzzy"}) as double:
        runner.check_then_do(double, values=VALUES, whole=True)
        runner.check_then_do(double, values={**VALUES, "A": "b-marker-xyzzy"}, visibility="unmasked")
        runner.check_then_do(double, absent=["A", "URL"])


def test_service_tokens(runner: Runner, tmp_path: Path) -> None:
    runner.module = doppler_service_token
    wish = {"name": "host", "path": str(tmp_path / "token")}
    with runner.double() as double:
        runner.check_then_do(double, **wish, expire_at="2099-01-01T00:00:00Z")
        runner.check_then_do(double, **wish, access="read/write")
        runner.check_then_do(double, **wish, state="absent")


def test_refusals(runner: Runner, proxy: Proxy) -> None:
    """Errors keep to the description, too."""
    with runner.double(VALUES) as double:
        assert "Could not find requested config 'x'" in runner.fails(config="x", values={"A": "c-marker-xyzzy"})
        assert "with 401: Invalid Auth token" in runner.fails(token=f"dp.sa.{'Y8' * 20}")
        double.limits["secrets"] = 0
        with pytest.raises(DopplerError, match="is asked too often; wait 60 s"):
            Doppler(TOKEN, "app", "prd", proxy.url).download()


def test_an_answer_that_breaks_the_description_is_caught(
    runner: Runner, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A double that is wrong in one field: the test of these tests."""
    monkeypatch.setattr("tests.doubles.doppler.secrets.shown", lambda _config, _name: {"raw": 7, "computed": "x"})
    with runner.double(VALUES):
        before = len(proxy.violations)
        assert "with 500" in runner.fails(values={"A": "c-marker-xyzzy"})
        assert proxy.more_violations(before)


def test_a_request_that_breaks_the_description_is_caught(runner: Runner, proxy: Proxy) -> None:
    """A key that the API does not know never reaches the double."""
    with runner.double() as double:
        before = len(proxy.violations)
        strange = {"change_requests": [{"name": "A", "originalName": None, "value": "x", "note": "y"}]}
        with pytest.raises(DopplerError, match="with 422"):
            Doppler(TOKEN, "app", "prd", proxy.url).ask("POST", "/v3/configs/config/secrets", strange)
        assert double.writes() == []
        assert proxy.more_violations(before)


def test_everything_went_through_the_proxy(proxy: Proxy) -> None:
    """The last test of this file: how many requests were looked at."""
    print(f"{proxy.validated} requests validated, none broke the description unless it was meant to")
    assert proxy.validated >= 40
