"""Which certificate a site is served under, and when the switch is moved."""

from __future__ import annotations

import datetime
import fcntl
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SOURCE = Path(__file__).resolve().parents[3] / "roles" / "caddy" / "files" / "certificates.py"
NAME = "api.example.org"


def load() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("caddy_certificates", SOURCE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


certificates = load()


def certificate(path: Path, ends_in: datetime.timedelta) -> None:
    """A certificate in a file, which ends so soon."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=2))
        .not_valid_after(now + ends_in)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))


class World:
    """A host: settings, folders, and what was run of systemctl."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.own = root / "managed" / NAME / f"{NAME}.crt"
        self.switch = root / "fallback" / f"{NAME}.caddy"
        self.reloads = 0
        self.reload_fails = False
        self.journal: list[dict[str, Any]] = []
        (root / "fallback").mkdir()
        certificate(root / "origin.pem", datetime.timedelta(days=90))
        settings = {
            "managed": str(root / "managed"),
            "origin": str(root / "origin.pem"),
            "fallback": str(root / "fallback"),
            "hostnames": [NAME],
        }
        (root / "settings.json").write_text(json.dumps(settings))
        patch.setattr(certificates, "SETTINGS", str(root / "settings.json"))
        patch.setattr(certificates, "STATE", str(root / "state.json"))
        patch.setattr(certificates, "PAUSE", 0.01)
        self._run = certificates.run
        patch.setattr(certificates, "run", self.run)

    def run(self, *argv: str) -> Any:
        if argv[0] == "systemctl":
            self.reloads += 1
            return type("Done", (), {"returncode": int(self.reload_fails), "stderr": "no"})()
        if argv[0] == "journalctl":
            return type("Done", (), {"stdout": "\n".join(map(json.dumps, self.journal))})()
        return self._run(*argv)

    def settle(self) -> str:
        """The state of the site after a settling that went well."""
        assert certificates.main(["settle"]) == 0
        return str(json.loads((self.root / "state.json").read_text())["sites"][NAME])


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_a_site_without_a_certificate_falls_back_and_comes_back(world: World) -> None:
    assert (world.settle(), world.reloads) == ("origin", 1)
    assert world.switch.read_text() == f"tls {world.root}/origin.pem {world.root}/origin.key\n"
    assert (world.settle(), world.reloads) == ("origin", 1)
    certificate(world.own, datetime.timedelta(days=60))
    assert (world.settle(), world.reloads) == ("own", 2)
    assert not world.switch.exists()
    assert (world.settle(), world.reloads) == ("own", 2)


def test_the_switch_comes_before_the_end(world: World) -> None:
    certificate(world.own, datetime.timedelta(minutes=30))
    assert world.settle() == "origin"
    certificate(world.own, datetime.timedelta(hours=2))
    assert world.settle() == "own"


def test_without_a_good_origin_certificate_nothing_is_switched(world: World) -> None:
    certificate(world.root / "origin.pem", datetime.timedelta(minutes=-5))
    assert (world.settle(), world.reloads) == ("none", 0)


def test_a_site_that_is_gone_leaves_no_switch(world: World) -> None:
    (world.root / "fallback" / "old.example.org.caddy").write_text("tls a b\n")
    certificate(world.own, datetime.timedelta(days=60))
    assert (world.settle(), world.reloads) == ("own", 1)
    assert list((world.root / "fallback").iterdir()) == []


def test_the_reason_is_what_the_server_said_last(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.journal = [
        {"logger": "tls.obtain", "identifier": NAME, "error": "first"},
        {"logger": "tls.obtain", "identifier": NAME, "error": "rate limited"},
        {"logger": "tls.obtain", "identifier": "other.example.org", "error": "not this one"},
        {"logger": "http", "identifier": NAME, "error": "nor this"},
    ]
    world.settle()
    said = capsys.readouterr().err
    assert said == f"<4>{NAME} has no certificate of its own and is served under the origin certificate: rate limited\n"
    world.settle()
    assert capsys.readouterr().err == ""
    certificates.main(["report"])
    assert json.loads(capsys.readouterr().out)["reasons"] == {NAME: "rate limited"}


def test_a_reload_that_fails_is_said(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.reload_fails = True
    assert certificates.main(["settle"]) == 1
    assert "cannot be reloaded" in capsys.readouterr().err


def test_a_new_site_is_given_time(world: World) -> None:
    assert certificates.main(["settle", "--wait", "0.05"]) == 0
    assert world.switch.exists()
    certificate(world.own, datetime.timedelta(days=60))
    assert certificates.main(["settle", "--wait", "3600"]) == 0
    assert not world.switch.exists()


def test_the_timer_leaves_it_to_a_run_that_waits(world: World) -> None:
    with (world.root / "state.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # It would cut off the very attempt the other one is waiting for.
        assert certificates.main(["settle"]) == 0
    assert (world.switch.exists(), world.reloads) == (False, 0)
    assert world.settle() == "origin"


def test_a_report_before_the_first_settling(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert certificates.main(["report"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sites": {}, "reasons": {}}
    assert world.reloads == 0
