"""Packages of the engine: one source in place of another, pins, holds, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_daemon import DockerError
from ansible_collections.sapflux.hosting.plugins.module_utils._docker_packages import Packages, Spec

from .test_openpgp import FINGERPRINT, KEY

DEBIAN: dict[str, Any] = {
    "names": ["docker.io", "docker-cli", "apparmor"],
    "versioned": ["docker.io", "docker-cli"],
    "held": ["docker.io", "docker-cli"],
    "conflicts": ["docker-ce"],
    "version": "",
    "hold": True,
    "upgrade": False,
    "url": "",
    "fingerprint": "",
}
CE: dict[str, Any] = {
    **DEBIAN,
    "names": ["docker-ce", "apparmor"],
    "versioned": ["docker-ce"],
    "held": ["docker-ce"],
    "conflicts": ["docker.io", "docker-cli"],
    "url": "https://r.test/linux/debian/",
    "fingerprint": FINGERPRINT.lower(),
}
SOURCE = "etc/apt/sources.list.d/sapflux-docker.sources"
PINS = "etc/apt/preferences.d/60-sapflux-docker"
KEYRING = "etc/apt/keyrings/sapflux-docker.asc"


class Apt:
    """dpkg and apt of a host."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for directory in ("sources.list.d", "preferences.d"):
            (root / "etc/apt" / directory).mkdir(parents=True)
        (root / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="trixie"\n')
        self.installed: dict[str, str] = {"apparmor": "4.1"}
        self.held: set[str] = set()
        self.candidates = {"docker.io": "26.1.5+dfsg1-9", "docker-cli": "26.1.5+dfsg1-9", "docker-ce": "5:29.7.2-1"}
        self.calls: list[str] = []
        self.fail = ""
        self.urls: list[str] = []

    def run(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """Do what the named program does."""
        while argv[0] == "env" or "=" in argv[0]:
            argv = argv[1:]
        done = subprocess.CompletedProcess(argv, 0, "", "")
        if argv[0] == "dpkg-query":
            done.stdout = "".join(f"{name}\tii \t{version}\n" for name, version in self.installed.items())
            done.stdout += "docker-gone\trc \t1\n"
        elif argv[0] == "apt-cache":
            done.stdout = "".join(
                f"{name}:\n  Installed: {self.installed.get(name)}\n  Candidate: {version}\n  Version table:\n"
                for name, version in self.candidates.items()
            )
        elif argv[0] == "apt-mark":
            done.stdout = "\n".join(sorted(self.held))
            self.held |= set(argv[2:]) if argv[1] == "hold" else set()
            self.held -= set(argv[2:]) if argv[1] == "unhold" else set()
        elif argv[-1] == "update":
            self.calls.append("update")
        else:
            names = argv[argv.index("install") + 1 :]
            self.calls.append(" ".join(names))
            for name in names if names[-1] != "--download-only" else []:
                if name.endswith("-"):
                    del self.installed[name[:-1]]
                else:
                    self.installed[name] = self.candidates.get(name, "1")
        if self.fail and self.fail in " ".join(argv):
            done.returncode, done.stderr = 100, "W: a warning\nE: no such package\n"
        return done

    def fetch(self, url: str) -> bytes:
        """The repository's key."""
        self.urls.append(url)
        return KEY

    def packages(self, spec: dict[str, Any]) -> Packages:
        """The packages of this host."""
        return Packages(Spec.parse(spec), command=self.run, get=self.fetch, root=self.root)

    def apply(self, spec: dict[str, Any], running: tuple[str, ...] = ()) -> list[str]:
        """Plan, judge, carry out; the plan's lines."""
        packages = self.packages(spec)
        plan = packages.plan()
        packages.refuse(plan, running)
        lines = plan.lines()
        if plan:
            packages.prepare(plan)
            packages.apply(plan)
        return lines


@pytest.fixture
def apt(tmp_path: Path) -> Apt:
    """A fresh host."""
    return Apt(tmp_path)


def test_debians_packages_are_installed_and_held(apt: Apt) -> None:
    """Then nothing is left to do, and no file of apt's was needed."""
    assert apt.apply(DEBIAN) == ["install docker.io", "install docker-cli", "hold docker.io", "hold docker-cli"]
    assert apt.calls == ["update", "docker.io docker-cli --download-only", "docker.io docker-cli"]
    assert apt.held == {"docker.io", "docker-cli"}
    assert not (apt.root / SOURCE).exists()
    assert not (apt.root / PINS).exists()
    assert apt.apply(DEBIAN) == []
    assert apt.apply({**DEBIAN, "hold": False}) == ["unhold docker.io", "unhold docker-cli"]
    assert apt.held == set()


def test_another_repository_is_trusted_by_its_keys_fingerprint(apt: Apt) -> None:
    """The source names the key; the pins let the repository give the listed packages only."""
    apt.apply(CE)
    assert apt.urls == ["https://r.test/linux/debian/gpg"]
    assert (apt.root / KEYRING).read_bytes() == KEY
    text = (apt.root / SOURCE).read_text()
    assert "URIs: https://r.test/linux/debian\nSuites: trixie\nComponents: stable\n" in text
    assert "Signed-By: /etc/apt/keyrings/sapflux-docker.asc\n" in text
    pins = (apt.root / PINS).read_text()
    assert 'Package: *\nPin: origin "r.test"\nPin-Priority: -1\n' in pins
    assert 'Package: docker-ce apparmor\nPin: origin "r.test"\nPin-Priority: 600\n' in pins
    assert apt.apply(CE) == []
    assert len(apt.urls) == 1


def test_a_binary_key_gets_the_suffix_that_apt_expects(apt: Apt, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the source names that file."""
    from ansible_collections.sapflux.hosting.plugins.module_utils._openpgp import dearmour

    monkeypatch.setattr(apt, "fetch", lambda _url: dearmour(KEY))
    apt.apply(CE)
    assert "Signed-By: /etc/apt/keyrings/sapflux-docker.gpg\n" in (apt.root / SOURCE).read_text()
    assert apt.apply(CE) == []


def test_another_key_is_refused_before_anything_is_written(apt: Apt) -> None:
    """Both fingerprints are named."""
    with pytest.raises(DockerError, match=f"has the fingerprint {FINGERPRINT}, not {'A' * 40}"):
        apt.apply({**CE, "fingerprint": "A" * 40})
    assert not (apt.root / SOURCE).exists()
    assert not (apt.root / KEYRING).exists()
    assert apt.calls == []


@pytest.mark.parametrize("data", [b"<html>", b""])
def test_a_page_that_is_no_key_is_refused(apt: Apt, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """The option to look at is named."""
    monkeypatch.setattr(apt, "fetch", lambda _url: data)
    with pytest.raises(DockerError, match=r"is no key of a repository.*docker_repository_url"):
        apt.apply(CE)


@pytest.mark.parametrize("fingerprint", ["", "9DC8 5822", "X" * 40])
def test_a_short_fingerprint_is_refused(fingerprint: str) -> None:
    """Eight digits can be forged."""
    with pytest.raises(DockerError, match="not 40 hexadecimal digits"):
        Spec.parse({**CE, "fingerprint": fingerprint})


def test_the_engine_of_one_source_replaces_that_of_the_other_in_one_step(apt: Apt) -> None:
    """Both ways; the held one is released first."""
    apt.apply(DEBIAN)
    apt.calls.clear()
    apt.apply(CE)
    step = "docker-ce docker.io- docker-cli-"
    assert apt.calls == ["update", f"{step} --download-only", step]
    assert set(apt.installed) == {"apparmor", "docker-ce"}
    assert apt.held == {"docker-ce"}
    apt.apply(DEBIAN)
    assert set(apt.installed) == {"apparmor", "docker.io", "docker-cli"}
    assert not (apt.root / SOURCE).exists()


def test_a_replacement_is_refused_while_containers_run(apt: Apt) -> None:
    """With their names and the way out; nothing was done. Without a replacement running containers do not matter."""
    apt.apply(DEBIAN, running=("web",))
    apt.calls.clear()
    with pytest.raises(DockerError, match=r"2 container\(s\) run \(db, web\).*docker stop") as caught:
        apt.apply(CE, running=("web", "db"))
    assert "docker_source" in str(caught.value)
    assert apt.calls == []
    assert "docker.io" in apt.installed


def test_a_version_is_pinned_and_brought_there(apt: Apt) -> None:
    """A pattern; a package that does not match is installed again, downwards too."""
    apt.apply(DEBIAN)
    apt.candidates["docker.io"] = apt.candidates["docker-cli"] = "26.1.4-1"
    assert apt.apply({**DEBIAN, "version": "26.1.4*"})[:2] == ["install docker.io", "install docker-cli"]
    pins = (apt.root / PINS).read_text()
    assert "Package: docker.io docker-cli\nPin: version 26.1.4*\nPin-Priority: 1001\n" in pins
    assert apt.held == {"docker.io", "docker-cli"}
    assert apt.apply({**DEBIAN, "version": "26.1.4*"}) == []
    with pytest.raises(DockerError, match=r"did not install docker\.io, docker-cli as wanted"):
        apt.apply({**DEBIAN, "version": "27.*"})


def test_an_upgrade_only_happens_when_it_is_asked_for(apt: Apt) -> None:
    """A newer candidate alone changes nothing."""
    apt.apply(DEBIAN)
    apt.candidates["docker.io"] = "26.1.6-1"
    assert apt.apply(DEBIAN) == []
    assert apt.apply({**DEBIAN, "upgrade": True}) == ["install docker.io"]
    assert apt.installed["docker.io"] == "26.1.6-1"
    assert apt.held == {"docker.io", "docker-cli"}
    assert apt.apply({**DEBIAN, "upgrade": True}) == []


def test_what_apt_refuses_is_said_in_its_words(apt: Apt) -> None:
    """The last line, which is the error."""
    packages = apt.packages(DEBIAN)
    plan = packages.plan()
    apt.fail = "install docker.io"
    with pytest.raises(DockerError, match="the packages cannot be fetched: E: no such package"):
        packages.prepare(plan)
    with pytest.raises(DockerError, match="the packages cannot be installed: E: no such package"):
        packages.apply(plan)


def test_a_host_without_a_codename_is_refused(apt: Apt) -> None:
    """The suite cannot be guessed."""
    (apt.root / "etc/os-release").write_text("ID=debian\n")
    with pytest.raises(DockerError, match="VERSION_CODENAME"):
        apt.apply(CE)
