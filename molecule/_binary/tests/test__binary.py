"""A pinned program on a host: what runs, what is kept, what is refused."""

from __future__ import annotations

from testinfra.host import Host

from tests.scenario import apply

VERSIONS = "/usr/local/lib/sapflux/hello"


def installed(host: Host) -> list[str]:
    """The versions that lie on the host, oldest name first."""
    return sorted(name.split("-")[0] for name in host.check_output(f"ls {VERSIONS}").split() if name[0].isdigit())


def test_the_link_leads_to_the_version_and_runs(host: Host) -> None:
    assert host.check_output("hello") == "hello 1"
    target = host.file("/usr/local/bin/hello").linked_to
    assert target.startswith(f"{VERSIONS}/1.0-")
    program = host.file(target)
    assert (program.user, program.group, program.mode) == ("root", "root", 0o755)


def test_an_upgrade_keeps_one_previous_version_and_goes_back(host: Host) -> None:
    assert apply({"molecule_release": "2"}).changed == 1
    assert (host.check_output("hello"), installed(host)) == ("hello 2", ["1.0", "2.0"])
    assert apply({"molecule_release": "3"}).changed == 1
    assert (host.check_output("hello"), installed(host)) == ("hello 3", ["2.0", "3.0"])
    assert apply({"molecule_release": "2"}).changed == 1
    assert host.check_output("hello") == "hello 2"
    assert apply({"molecule_release": "2"}).changed == 0


def test_a_wrong_digest_is_refused_with_both_named_and_nothing_changed(host: Host) -> None:
    before = host.check_output(f"find {VERSIONS} /usr/local/bin | sort")
    wrong = "ab" * 32
    result = apply({"molecule_release": "3", "binary_version": "4.0", "binary_sha256": wrong})
    assert result.rc != 0
    assert wrong in result.output
    right = host.check_output(f"sha256sum {VERSIONS}/3.0-*/hello").split()[0]
    assert right in result.output
    assert host.check_output(f"find {VERSIONS} /usr/local/bin | sort") == before


def test_a_missing_file_is_named_before_the_host_is_asked(host: Host) -> None:
    result = apply({"binary_src": "/nowhere/hello", "binary_sha256": "0" * 64})
    assert result.rc != 0
    assert "/nowhere/hello" in result.output
    assert host.check_output("hello") == "hello 2"


def test_a_strangers_file_at_the_link_is_refused(host: Host) -> None:
    host.check_output("echo mine > /usr/local/bin/other")
    result = apply({"binary_link": "/usr/local/bin/other"})
    assert result.rc != 0
    assert host.file("/usr/local/bin/other").content_string == "mine\n"


def test_absent_removes_versions_and_link(host: Host) -> None:
    assert apply({"binary_state": "absent"}).changed == 1
    assert not host.file("/usr/local/bin/hello").exists
    assert not host.file(VERSIONS).exists
    assert apply({"binary_state": "absent"}).changed == 0
