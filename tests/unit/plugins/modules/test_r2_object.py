"""Objects go up and come down whole, and only where they differ."""

from __future__ import annotations

import hashlib
import io
import json
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_objects, _r2_s3
from ansible_collections.sapflux.hosting.plugins.modules import r2_object
from botocore.response import StreamingBody
from botocore.stub import Stubber

KEYS = {"s3_access_key": "access", "s3_secret_key": "secret-that-must-not-show"}
BUCKET = {"Bucket": "backup"}
OBJECT = {**BUCKET, "Key": "a/b"}
DATA = b"0123456789"
SHA256 = hashlib.sha256(DATA).hexdigest()
TYPE = "application/octet-stream"
CHECK = {"_ansible_check_mode": True, "_ansible_diff": True}
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def module(operation: str, **arguments: Any) -> dict[str, Any]:
        given = {
            "operation": operation, "bucket": "backup", "object": "a/b", "s3_endpoint": "http://127.0.0.1:1",
            **KEYS, **arguments,
        }  # fmt: skip
        with patch_module_args(given), pytest.raises(SystemExit):
            r2_object.main()
        text = capsys.readouterr().out
        assert KEYS["s3_secret_key"] not in text
        result: dict[str, Any] = json.loads(text)
        return result

    return module


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """A server from a script; every answer that was scripted has to be asked for."""
    client = _r2_s3.connect("http://127.0.0.1:1", *KEYS.values())
    monkeypatch.setattr(_r2_s3, "connect", lambda *_arguments: client)
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(DATA)
    return path


def there(server: Stubber, **more: Any) -> None:
    found = {"ContentLength": len(DATA), "Metadata": {"sha256": SHA256}, "ContentType": TYPE, **more}
    server.add_response("head_object", found, OBJECT)


def missing(server: Stubber) -> None:
    server.add_client_error("head_object", "404", http_status_code=404, expected_params=OBJECT)


def body(data: bytes) -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(data), len(data))}


def test_a_file_is_uploaded_once(run: Run, server: Stubber, source: Path) -> None:
    missing(server)
    planned = run("put", src=str(source), **CHECK)
    missing(server)
    about = {**OBJECT, "ContentType": TYPE, "Metadata": {"sha256": SHA256}}
    server.add_response("put_object", {}, {**about, "Body": DATA, "ContentMD5": _r2_objects.md5(DATA)})
    done = run("put", src=str(source), _ansible_diff=True)
    assert done["changes"] == ["create object a/b"]
    assert (planned["changes"], planned["diff"]) == (done["changes"], done["diff"])
    there(server)
    assert run("put", src=str(source))["changed"] is False


@pytest.mark.parametrize("more", [{"Metadata": {}}, {"ContentType": "text/plain"}])
def test_what_differs_or_was_left_by_others_is_uploaded(
    run: Run, server: Stubber, source: Path, more: dict[str, Any]
) -> None:
    there(server, **more)
    server.add_response("put_object", {})
    assert run("put", src=str(source))["changes"][0].startswith("change object a/b: ")


def test_a_large_file_goes_in_parts(run: Run, server: Stubber, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of one size but the last, each with its checksum."""
    monkeypatch.setattr(_r2_objects, "PART", 4)
    missing(server)
    server.add_response("create_multipart_upload", {"UploadId": "u"})
    upload = {**OBJECT, "UploadId": "u"}
    for number, data in enumerate((b"0123", b"4567", b"89"), 1):
        sent = {**upload, "PartNumber": number, "Body": data, "ContentMD5": _r2_objects.md5(data)}
        server.add_response("upload_part", {"ETag": f"e{number}"}, sent)
    parts = [{"PartNumber": number, "ETag": f"e{number}"} for number in (1, 2, 3)]
    server.add_response("complete_multipart_upload", {}, {**upload, "MultipartUpload": {"Parts": parts}})
    assert run("put", src=str(source))["changed"] is True


def test_parts_of_an_upload_that_fails_are_removed(
    run: Run, server: Stubber, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_r2_objects, "PART", 4)
    missing(server)
    server.add_response("create_multipart_upload", {"UploadId": "u"})
    server.add_client_error("upload_part", "InvalidDigest", "no")
    server.add_client_error("abort_multipart_upload", "InternalError", "not now")
    assert run("put", src=str(source))["msg"] == "the S3 server refused to upload a/b: no (InvalidDigest)"


def test_an_object_is_downloaded_once(run: Run, server: Stubber, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    there(server)
    planned = run("get", dest=str(dest), **CHECK)
    assert not dest.exists()
    there(server)
    server.add_response("get_object", body(DATA), OBJECT)
    assert run("get", dest=str(dest))["changes"] == planned["changes"] == [f"create file {dest}"]
    assert (dest.read_bytes(), stat.S_IMODE(dest.stat().st_mode)) == (DATA, 0o600)
    there(server)
    assert run("get", dest=str(dest))["changed"] is False


def test_an_object_that_is_not_what_was_uploaded(run: Run, server: Stubber, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.write_text("old")
    there(server)
    server.add_response("get_object", body(b"9876543210"))
    assert "its SHA-256 differs" in run("get", dest=str(dest))["msg"]
    assert dest.read_text() == "old"
    assert list(tmp_path.iterdir()) == [dest]


def test_a_place_that_cannot_be_written(
    run: Run, server: Stubber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there(server)
    server.add_response("get_object", body(DATA))

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert run("get", dest=str(tmp_path / "x"))["msg"].endswith("cannot be written: No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_an_object_is_removed_once(run: Run, server: Stubber) -> None:
    there(server)
    planned = run("delete", **CHECK)
    there(server)
    server.add_response("delete_object", {}, OBJECT)
    assert run("delete")["changes"] == planned["changes"] == ["remove object a/b"]
    missing(server)
    assert run("delete")["changed"] is False


def test_lists_are_read_to_their_end(run: Run, server: Stubber) -> None:
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    where = {**BUCKET, "Prefix": "a"}
    page = {"Contents": [{"Key": "b", "Size": 1, "LastModified": moment}], "NextContinuationToken": "t"}
    server.add_response("list_objects_v2", page, where)
    last = {"Contents": [{"Key": "a", "Size": 2, "LastModified": moment}]}
    server.add_response("list_objects_v2", last, {**where, "ContinuationToken": "t"})
    result = run("list", prefix="a")
    assert [(each["key"], each["size"]) for each in result["objects"]] == [("a", 2), ("b", 1)]
    assert result["objects"][0]["modified"] == "2026-11-01T00:00:00+00:00"


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_a_signed_address_is_whole(run: Run, method: str) -> None:
    """The access key is a part of it, so it must not be masked."""
    result = run("presign", method=method, seconds=60)
    assert result["url"].startswith("http://127.0.0.1:1/backup/a/b?X-Amz-Algorithm=AWS4-HMAC-SHA256")
    assert ("X-Amz-Credential=access%2F" in result["url"], "X-Amz-Expires=60" in result["url"]) == (True, True)
    assert result["changed"] is False


def test_wishes_that_cannot_be(run: Run, server: Stubber, tmp_path: Path) -> None:
    assert "1 to 604800 seconds" in run("presign", seconds=604801)["msg"]
    assert "there is no such file" in run("put", src=str(tmp_path / "missing"))["msg"]
    assert "cannot be read" in run("put", src=str(tmp_path))["msg"]
    missing(server)
    assert run("get", dest=str(tmp_path / "x"))["msg"] == "there is no object a/b in the bucket backup"
    there(server)
    assert "make its folder first" in run("get", dest=str(tmp_path / "missing" / "x"))["msg"]
    assert "src" in run("put")["msg"]
