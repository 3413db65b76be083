"""Where an archive goes on after a restore: written down in the bucket and on the host, followed by both."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from roles.walg.files.pgsafe_parts import lineage
from roles.walg.files.pgsafe_parts.common import REFUSED, Config, PgsafeError, environment, load, write_json

from .conftest import IDENTIFIER, Walg

SECOND = "s3://bucket/pg/x/17/g2"


@pytest.mark.parametrize(
    ("prefix", "after"),
    [("s3://b/pg/x/17/g1", "s3://b/pg/x/17/g2"), ("s3://b/x/g9", "s3://b/x/g10"), ("s3://b/x", "s3://b/x.2")],
)
def test_the_next_prefix(prefix: str, after: str) -> None:
    assert lineage.next_prefix(prefix) == after


def absent(walg: Walg, key: str) -> None:
    walg.answer("st", "cat", key, exit=1, stderr="ERROR: download the file: object 'x' not found in storage")


def test_moving_on_claims_then_marks_then_remembers(config: Config, walg: Walg) -> None:
    walg.has_no_identity()
    absent(walg, "SUCCESSOR.json")
    walg.answer("st", "ls")
    walg.answer("st", "put")
    lineage.move_on(config, SECOND, str(IDENTIFIER), "restore x")
    puts = [call for call in walg.calls() if call["arguments"][1] == "put"]
    assert [call["arguments"][-1] for call in puts] == ["IDENTITY.json", "SUCCESSOR.json"]
    assert [call["environment"]["WALG_S3_PREFIX"] for call in puts] == [SECOND, config.prefix]
    # the document still says g1, and the host goes on in g2
    again = load(config.path)
    assert (again.configured_prefix, again.prefix) == (config.prefix, SECOND)
    assert environment(again, "1MiB", 1)["WALG_S3_PREFIX"] == SECOND


def test_a_document_that_caught_up_or_went_ahead_is_believed(config: Config) -> None:
    Path(config.state, "lineage.json").write_text(json.dumps({"prefix": SECOND, "ended": [config.prefix]}))
    values = json.loads(Path(config.path).read_text())
    for prefix in (SECOND, "s3://bucket/pg/x/17/g3", "s3://other/pg/x/17/g1"):
        Path(config.path).write_text(json.dumps({**values, "prefix": prefix}))
        assert load(config.path).prefix == prefix


def test_settings_of_a_copy_stay_with_the_ended_archive(config: Config, tmp_path: Path) -> None:
    Path(config.state, "lineage.json").write_text(json.dumps({"prefix": SECOND, "ended": [config.prefix]}))
    config.write(str(tmp_path / "copy.json"))
    assert load(str(tmp_path / "copy.json")).prefix == config.prefix


def test_a_lineage_that_cannot_be_read_is_no_guess(config: Config) -> None:
    Path(config.state, "lineage.json").write_text("{")
    with pytest.raises(PgsafeError, match="it says where the archive goes on"):
        load(config.path)


def test_moving_on_twice_writes_once(config: Config, walg: Walg) -> None:
    walg.holds_identity()
    walg.answer("st", "cat", "SUCCESSOR.json", stdout=json.dumps({"prefix": SECOND}))
    lineage.move_on(config, SECOND, str(IDENTIFIER), "restore x")
    assert "st put" not in walg.asked()


def test_a_prefix_of_somebody_else_is_not_taken(config: Config, walg: Walg) -> None:
    walg.holds_identity(1)
    with pytest.raises(PgsafeError, match="belongs to another cluster") as caught:
        lineage.move_on(config, SECOND, str(IDENTIFIER), "restore x")
    assert caught.value.code == REFUSED


def test_a_prefix_that_filled_up_meanwhile_is_not_taken(config: Config, walg: Walg) -> None:
    walg.has_no_identity()
    walg.answer("st", "ls", stdout="obj 1 2026-11-23 01:20:49 +0000 UTC x\n")
    with pytest.raises(PgsafeError, match="is no longer empty"):
        lineage.move_on(config, SECOND, str(IDENTIFIER), "restore x")


def test_the_first_free_prefix(config: Config, walg: Walg) -> None:
    walg.answer("st", "ls", stdout="obj 1 2026-11-23 01:20:49 +0000 UTC x\n", once=True)
    walg.answer("st", "ls")
    assert lineage.free_prefix(config) == "s3://bucket/pg/x/17/g3"


def test_successors_are_followed_to_the_end(config: Config, walg: Walg) -> None:
    for prefix in (SECOND, "s3://bucket/pg/x/17/g3"):
        walg.answer("st", "cat", "SUCCESSOR.json", stdout=json.dumps({"prefix": prefix}), once=True)
    absent(walg, "SUCCESSOR.json")
    assert lineage.newest(config).prefix == "s3://bucket/pg/x/17/g3"


def test_a_circle_is_no_way(config: Config, walg: Walg) -> None:
    walg.answer("st", "cat", "SUCCESSOR.json", stdout=json.dumps({"prefix": config.prefix}))
    with pytest.raises(PgsafeError, match="name each other as successor"):
        lineage.newest(config)


def test_the_way_back(config: Config, walg: Walg) -> None:
    path = Path(config.state, "lineage.json")
    path.write_text(json.dumps({"prefix": SECOND, "ended": [config.prefix]}))
    walg.answer("st", "cat", "SUCCESSOR.json", stdout=json.dumps({"prefix": SECOND}))
    walg.answer("st", "rm")
    lineage.take_back(config, config.prefix, SECOND)
    assert not path.exists()
    assert walg.asked() == ["st cat", "st rm"]


def test_the_way_back_leaves_the_mark_of_another_restore(config: Config, walg: Walg) -> None:
    walg.answer("st", "cat", "SUCCESSOR.json", stdout=json.dumps({"prefix": "s3://bucket/pg/x/17/g7"}))
    lineage.take_back(config, config.prefix, SECOND)
    assert walg.asked() == ["st cat"]


def test_whose_cluster_when_the_data_are_gone(config: Config) -> None:
    assert lineage.own_identifier(config) == str(IDENTIFIER)
    Path(config.data, "global", "pg_control").unlink()
    assert lineage.own_identifier(config) is None
    Path(config.state, "identity.json").write_text(json.dumps({"system_identifier": "42"}))
    assert lineage.own_identifier(config) == "42"


def test_an_archive_without_identity_restores_nothing(config: Config, walg: Walg) -> None:
    walg.has_no_identity()
    with pytest.raises(PgsafeError, match=r"holds no IDENTITY.json: there is nothing to restore"):
        lineage.same_cluster(config)


def test_a_new_generation_is_claimed_with_the_key_it_is_written_with(
    config: Config, walg: Walg, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the fingerprint the cluster's own first segment after a restore would be refused."""
    config.key_fingerprint = "0123456789abcdef"
    walg.has_no_identity()
    absent(walg, "SUCCESSOR.json")
    walg.answer("st", "ls")
    walg.answer("st", "put")
    written: list[dict[str, object]] = []

    def noted(path: str, document: dict[str, object]) -> None:
        written.append(dict(document))
        write_json(path, document)

    monkeypatch.setattr("roles.walg.files.pgsafe_parts.identity.write_json", noted)
    lineage.move_on(config, SECOND, str(IDENTIFIER), "restore x")
    assert written[0]["key_fingerprint"] == "0123456789abcdef"
    assert written[0]["generation"] == "g2"
    assert written[0]["predecessor"] == config.prefix
