"""Finding and starting the container engine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.bed import engine, shell


def test_stale_pid_file_is_removed_and_a_living_daemon_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid_file = tmp_path / "docker.pid"
    monkeypatch.setattr(engine, "PID_FILE", pid_file)
    engine._clear_stale_pid_file()
    pid_file.write_text(f"{os.getpid()}\n")  # a living process that is no dockerd
    engine._clear_stale_pid_file()
    assert not pid_file.exists()
    gone = subprocess.Popen(["true"])
    gone.wait()
    pid_file.write_text(f"{gone.pid}")
    engine._clear_stale_pid_file()
    assert not pid_file.exists()


def test_missing_tools_without_root_name_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(shell.BedError, match=r"missing here: docker\.io") as caught:
        engine.ensure()
    assert "sudo apt-get install docker.io" in caught.value.hint


def test_daemon_that_refuses_this_user_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(shell.BedError, match="does not answer this user") as caught:
        engine.ensure()
    assert "usermod -aG docker" in caught.value.hint


def test_run_names_program_and_cause() -> None:
    with pytest.raises(shell.BedError, match="ended with 3: no luck"):
        shell.run("sh", "-c", "echo no luck; exit 3")
    with pytest.raises(shell.BedError, match="no-such-program is not installed"):
        shell.run("no-such-program")


def test_retry_is_for_downloads_only_and_gives_up(tmp_path: Path) -> None:
    counter = tmp_path / "count"
    script = f"echo x >>{counter}; test $(wc -l <{counter}) -ge 2"
    shell.retry_download(["sh", "-c", script], pause=0)
    assert counter.read_text().count("x") == 2
    with pytest.raises(shell.BedError):
        shell.retry_download(["false"], pause=0)


def test_wait_for_names_what_did_not_happen() -> None:
    with pytest.raises(shell.BedError, match="the moon did not happen"):
        shell.wait_for("the moon", lambda: False, seconds=0.05, every=0.01)
