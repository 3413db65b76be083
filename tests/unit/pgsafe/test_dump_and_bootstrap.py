"""The second leg, and what a fresh cluster does about an archive that is not empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from roles.walg.files.pgsafe_parts import bootstrap, dump, inplace, lineage, plan
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError

from .conftest import IDENTIFIER, OTHER, Walg

OLD, NEW, HALF = "20261101T040000Z", "20261108T040000Z", "20261105T040000Z"
KEYS = [f"{OLD}/app.dump", f"{OLD}/manifest.json", f"{HALF}/app.dump", f"{NEW}/app.dump", f"{NEW}/manifest.json"]


def test_a_dump_without_its_manifest_is_none() -> None:
    assert dump.stamps(KEYS) == [OLD, NEW]


@pytest.mark.parametrize(
    ("keep", "gone"),
    [(1, [f"{OLD}/app.dump", f"{OLD}/manifest.json", f"{HALF}/app.dump"]), (2, []), (9, [])],
)
def test_pruning_keeps_the_newest_whole_ones(keep: int, gone: list[str]) -> None:
    assert dump.to_prune(KEYS, keep) == sorted(gone)


def test_pruning_leaves_what_is_not_ours() -> None:
    assert dump.to_prune([*KEYS, "a/b", "IDENTITY.json"], 1) == dump.to_prune(KEYS, 1)


@pytest.fixture
def dumps(config: Config, tmp_path: Path, walg: Walg, monkeypatch: pytest.MonkeyPatch) -> Config:
    config.values |= {"dump_prefix": "s3://bucket/dumps/x", "dump_keep": 1}
    config.reports = str(tmp_path / "reports")
    for program in ("pg_dump", "pg_dumpall"):
        path = Path(config.bin, program)
        path.parent.mkdir(exist_ok=True)
        path.write_text('#!/bin/sh\necho "$@"\n')
        path.chmod(0o755)
    monkeypatch.setattr(dump, "query", lambda *_arguments: json.dumps([{"name": "app", "bytes": 10}]))
    monkeypatch.setattr(dump, "now", lambda: 1794110400.0)
    walg.answer("st", "put")
    walg.answer("st", "rm")
    return config


def listing(*keys: str) -> str:
    return "".join(f"obj 5 2026-11-08 04:00:00 +0000 UTC {key}\n" for key in keys)


def test_a_dump_is_believed_when_it_is_listed(dumps: Config, walg: Walg) -> None:
    walg.answer("st", "ls", stdout=listing(*KEYS))
    result = dump.make(dumps)
    assert (result["stamp"], result["kept"], result["pruned"]) == (NEW, 1, 2)
    assert set(result["files"]) == {"globals.sql", "app.dump"}
    sent = [call["arguments"][-1] for call in walg.calls() if call["arguments"][1] == "put"]
    assert sent == [f"{NEW}/globals.sql", f"{NEW}/app.dump", f"{NEW}/manifest.json"]
    assert {call["environment"]["WALG_S3_PREFIX"] for call in walg.calls()} == {"s3://bucket/dumps/x"}
    assert list(Path(dumps.restores).iterdir()) == []
    assert "1 kept" in dump.as_text(result)


def test_a_dump_that_is_not_listed_is_none(dumps: Config, walg: Walg) -> None:
    walg.answer("st", "ls", stdout=listing(f"{OLD}/manifest.json"))
    with pytest.raises(PgsafeError, match="does not list the dump"):
        dump.make(dumps)
    assert "st rm" not in walg.asked()


def test_a_dump_that_fails_is_not_sent(dumps: Config, walg: Walg) -> None:
    Path(dumps.bin, "pg_dump").write_text("#!/bin/sh\necho broken page >&2; exit 1\n")
    with pytest.raises(PgsafeError, match=r"pg_dump failed \(exit 1\): broken page"):
        dump.make(dumps)
    sent = [call["arguments"][-1] for call in walg.calls() if call["arguments"][1] == "put"]
    assert sent == [f"{NEW}/globals.sql"]
    assert list(Path(dumps.restores).iterdir()) == []


def test_a_dump_comes_back_only_whole(dumps: Config, walg: Walg, tmp_path: Path) -> None:
    walg.answer("st", "ls", stdout=listing(*KEYS))
    walg.answer("st", "cat", stdout=json.dumps({"files": {"app.dump": 5}}))
    walg.answer("st", "get", write="12345", once=True)
    walg.answer("st", "get", write="123")
    result = dump.fetch(dumps, "", str(tmp_path / "here"))
    assert result["stamp"] == NEW
    assert "pg_restore --create" in dump.fetched(result)
    with pytest.raises(PgsafeError, match="is not empty"):
        dump.fetch(dumps, "", str(tmp_path / "here"))
    with pytest.raises(PgsafeError, match="has 3 bytes, not 5"):
        dump.fetch(dumps, NEW, str(tmp_path / "there"))
    with pytest.raises(PgsafeError, match=f"holds no dump '{HALF}'; it holds {OLD}, {NEW}"):
        dump.fetch(dumps, HALF, str(tmp_path / "nowhere"))


class Owner:
    """A host on which everybody is everybody."""

    @staticmethod
    def owner(_config: Config, function: Any, *arguments: Any) -> Any:
        return function(*arguments)


HOST: Any = Owner()


def found(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    answer = {
        "own": str(IDENTIFIER),
        "prefix": "s3://bucket/pg/x/17/g1",
        "archive": str(OTHER),
        "empty": False,
        "backups": 2,
    }
    monkeypatch.setattr(bootstrap, "state", lambda _config: {**answer, **changed})


@pytest.fixture(autouse=True)
def _journal(config: Config, tmp_path: Path) -> None:
    config.journal = str(tmp_path / "journal" / "journal.json")


def test_the_archives_own_cluster_is_left_alone(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, archive=str(IDENTIFIER))
    assert bootstrap.restore(config, HOST)["state"] == "unchanged"
    assert bootstrap.new(config, "")["state"] == "unchanged"


@pytest.mark.parametrize("changed", [{"archive": None, "backups": 0}, {"backups": 0}])
def test_nothing_comes_from_an_archive_without_backup(
    config: Config, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    found(monkeypatch, **changed)
    with pytest.raises(PgsafeError, match="holds no backup, so there is nothing to bring back") as caught:
        bootstrap.restore(config, HOST)
    assert caught.value.code == REFUSED


def test_a_cluster_with_data_is_not_replaced(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    monkeypatch.setattr(bootstrap, "own_tables", lambda _config: ["app:tree", "app:leaf", "app:x", "app:y"])
    with pytest.raises(PgsafeError, match=r"holds data \(app:tree, app:leaf, app:x, ...\)") as caught:
        bootstrap.restore(config, HOST)
    assert caught.value.code == REFUSED


def test_an_empty_cluster_is_replaced(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(bootstrap, "own_tables", lambda _config: [])
    monkeypatch.setattr(plan, "check", lambda *_a: {"backup": {"backup_name": "b"}, "identifier": str(OTHER)})
    monkeypatch.setattr(inplace, "say", lambda _text: None)

    def go_on(machine: inplace.InPlace) -> dict[str, Any]:
        asked.update(machine.journal.facts)
        return {"state": "done"}

    monkeypatch.setattr(inplace, "go_on", go_on)
    assert bootstrap.restore(config, HOST, units=["app.service"])["state"] == "done"
    assert (asked["identifier"], asked["promote"], asked["units"]) == (str(OTHER), True, ["app.service"])
    # one that was cut off is finished, without asking again
    found(monkeypatch, archive=str(IDENTIFIER))
    assert bootstrap.restore(config, HOST)["state"] == "done"


def test_a_new_archive_beside_another_must_be_said_twice(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    with pytest.raises(PgsafeError, match="confirm with walg_bootstrap_confirm: s3://bucket/pg/x/17/g1") as caught:
        bootstrap.new(config, "yes")
    assert caught.value.code == REFUSED
    moved: list[str] = []
    monkeypatch.setattr(lineage, "free_prefix", lambda _config: "s3://bucket/pg/x/17/g2")
    monkeypatch.setattr(lineage, "move_on", lambda _config, prefix, own, _why: moved.extend((prefix, own)))
    assert bootstrap.new(config, "s3://bucket/pg/x/17/g1")["prefix"] == "s3://bucket/pg/x/17/g2"
    assert moved == ["s3://bucket/pg/x/17/g2", str(IDENTIFIER)]


def test_an_empty_archive_needs_no_word(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch, archive=None, empty=True, backups=0)
    assert bootstrap.new(config, "")["state"] == "unchanged"
