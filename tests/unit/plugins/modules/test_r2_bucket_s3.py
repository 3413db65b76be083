"""The same bucket on a server that speaks S3, held to botocore's own model of the API."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_s3
from ansible_collections.sapflux.hosting.plugins.modules import r2_bucket
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

from tests.unit.plugins.modules.cloud_module import CHECK, Runner

KEYS = {"s3_access_key": "access-that-must-not-show", "s3_secret_key": "secret-that-must-not-show"}
BUCKET = {"Bucket": "backup"}
LIFECYCLE = [
    {"id": "base", "prefix": "base/", "delete_after_days": 60, "abort_uploads_after_days": 2},
    {"id": "end", "delete_on": "2030-01-01", "infrequent_access_after_days": 30, "enabled": False},
]
THEIRS: list[dict[str, Any]] = [
    {
        "ID": "base",
        "Status": "Enabled",
        "Filter": {"Prefix": "base/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2},
        "Expiration": {"Days": 60},
    },
    {
        "ID": "end",
        "Status": "Disabled",
        "Filter": {"Prefix": ""},
        "Expiration": {"Date": "2030-01-01T00:00:00Z"},
        "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}],
    },
]
CORS = [{"origins": ["https://example.org"], "methods": ["GET"], "expose_headers": ["etag"], "max_age_seconds": 60}]
CORS_THEIRS: list[dict[str, Any]] = [
    {
        "AllowedOrigins": ["https://example.org"],
        "AllowedMethods": ["GET"],
        "ExposeHeaders": ["etag"],
        "MaxAgeSeconds": 60,
    }
]


@pytest.fixture
def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    made = Runner(r2_bucket, capsys, monkeypatch)
    made.secrets += KEYS.values()
    return made


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stubber]:
    """A server from a script; every answer that was scripted has to be asked for."""
    client = _r2_s3.connect("http://127.0.0.1:1", *KEYS.values())
    monkeypatch.setattr(_r2_s3, "connect", lambda *_arguments: client)
    with Stubber(client) as stub:
        yield stub
        stub.assert_no_pending_responses()


def backup(**more: Any) -> dict[str, Any]:
    return {"backend": "s3", "name": "backup", "s3_endpoint": "http://127.0.0.1:1", **KEYS, **more}


def there(server: Stubber) -> None:
    server.add_response("head_bucket", {}, BUCKET)


def missing(server: Stubber) -> None:
    server.add_client_error("head_bucket", "404", http_status_code=404, expected_params=BUCKET)


def holding(server: Stubber, *keys: str) -> None:
    content = {"Contents": [{"Key": key} for key in keys]} if keys else {}
    server.add_response("list_objects_v2", content, {**BUCKET, "MaxKeys": 1})


def test_a_bucket_is_made_and_set(runner: Runner, server: Stubber) -> None:
    missing(server)
    planned = runner(**backup(lifecycle=LIFECYCLE, cors=CORS), **CHECK)
    missing(server)
    server.add_response("create_bucket", {}, BUCKET)
    there(server)
    given = {**BUCKET, "LifecycleConfiguration": {"Rules": THEIRS}}
    server.add_response("put_bucket_lifecycle_configuration", {}, given)
    server.add_response("put_bucket_cors", {}, {**BUCKET, "CORSConfiguration": {"CORSRules": CORS_THEIRS}})
    done = runner(**backup(lifecycle=LIFECYCLE, cors=CORS), _ansible_diff=True)
    assert done["changes"] == [
        "create bucket backup",
        "change lifecycle of bucket backup",
        "change cors of bucket backup",
    ]
    assert (planned["changes"], planned["diff"]) == (done["changes"], done["diff"])


def test_a_second_run_changes_nothing(runner: Runner, server: Stubber) -> None:
    """The server writes moments and prefixes in its own way."""
    there(server)
    date = {**THEIRS[1], "Expiration": {"Date": datetime(2030, 1, 1, tzinfo=UTC)}, "Prefix": "", "Filter": {}}
    server.add_response("get_bucket_lifecycle_configuration", {"Rules": [date, THEIRS[0]]}, BUCKET)
    server.add_response("get_bucket_cors", {"CORSRules": [{**CORS_THEIRS[0], "ID": "theirs"}]}, BUCKET)
    assert runner(**backup(lifecycle=LIFECYCLE, cors=CORS))["changes"] == []


def test_rules_are_taken_away(runner: Runner, server: Stubber) -> None:
    there(server)
    server.add_response("get_bucket_lifecycle_configuration", {"Rules": THEIRS}, BUCKET)
    server.add_response("get_bucket_cors", {"CORSRules": CORS_THEIRS}, BUCKET)
    server.add_response("delete_bucket_lifecycle", {}, BUCKET)
    server.add_response("delete_bucket_cors", {}, BUCKET)
    assert len(runner(**backup(lifecycle=[], cors=[]))["changes"]) == 2
    there(server)
    server.add_client_error("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration")
    server.add_client_error("get_bucket_cors", "NoSuchCORSConfiguration")
    assert runner(**backup(lifecycle=[], cors=[]))["changed"] is False


def test_a_bucket_that_is_not_empty_stays(runner: Runner, server: Stubber) -> None:
    there(server)
    holding(server, "a")
    assert "is not empty: say force" in runner.fails(**backup(state="absent"))


def test_force_empties_uploads_and_pages(runner: Runner, server: Stubber) -> None:
    there(server)
    holding(server, "a")
    server.add_response("list_multipart_uploads", {"Uploads": [{"Key": "k", "UploadId": "1"}]}, BUCKET)
    server.add_response("abort_multipart_upload", {}, {**BUCKET, "Key": "k", "UploadId": "1"})
    server.add_response("list_multipart_uploads", {}, BUCKET)
    for keys in (["a", "b"], ["c"]):
        server.add_response("list_objects_v2", {"Contents": [{"Key": key} for key in keys]}, BUCKET)
        gone = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        server.add_response("delete_objects", {}, {**BUCKET, "Delete": gone})
    server.add_response("list_objects_v2", {}, BUCKET)
    server.add_response("delete_bucket", {}, BUCKET)
    assert len(runner(**backup(state="absent", force=True))["changes"]) == 2
    missing(server)
    assert runner(**backup(state="absent", force=True))["changed"] is False


def test_an_object_that_stays_is_told(runner: Runner, server: Stubber) -> None:
    """The answer is good although an object was refused."""
    there(server)
    holding(server, "a")
    server.add_response("list_multipart_uploads", {}, BUCKET)
    server.add_response("list_objects_v2", {"Contents": [{"Key": "a"}]}, BUCKET)
    failed = {"Errors": [{"Key": "a", "Code": "AccessDenied", "Message": "no"}]}
    server.add_response("delete_objects", failed)
    said = runner.fails(**backup(state="absent", force=True))
    assert said == "the S3 server refused to empty the bucket backup: a: no (AccessDenied)"


def test_somebody_was_faster(runner: Runner, server: Stubber) -> None:
    missing(server)
    server.add_client_error("create_bucket", "BucketAlreadyOwnedByYou", http_status_code=409)
    there(server)
    server.add_client_error("get_bucket_cors", "NoSuchCORSConfiguration")
    assert runner(**backup(cors=[]))["changed"] is True


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("InvalidAccessKeyId", "to look at the bucket backup: no (InvalidAccessKeyId); check the access key"),
        ("NotImplemented", "this server does not have it; leave the option out"),
        ("Other", "no (Other)"),
    ],
)
def test_refusals_of_the_server(runner: Runner, server: Stubber, code: str, said: str) -> None:
    server.add_client_error("head_bucket", code, "no.")
    assert said in runner.fails(**backup())


def test_a_name_that_is_taken(runner: Runner, server: Stubber) -> None:
    missing(server)
    server.add_client_error("create_bucket", "BucketAlreadyExists")
    assert "choose another name" in runner.fails(**backup())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lock": [], "r2_dev": False}, "S3 has no lock and no r2_dev"),
        ({"jurisdiction": "eu"}, "S3 has no jurisdiction"),
        ({"s3_endpoint": "not an address"}, "is no address of an S3 server"),
    ],
)
def test_what_s3_does_not_have(runner: Runner, change: dict[str, Any], said: str) -> None:
    assert said in runner.fails(**backup(**change))


def test_a_server_that_is_not_there(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def head_bucket(self, **_arguments: Any) -> None:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")

    monkeypatch.setattr(_r2_s3, "connect", lambda *_arguments: Gone())
    assert "could not be asked to look at the bucket backup" in runner.fails(**backup())


def test_without_boto3(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_r2_s3, "HAS_BOTO3", False)
    assert "boto3 is missing where this runs" in runner.fails(**backup())


def test_checksums_are_sent_only_where_they_must() -> None:
    """R2 refused those that boto3 adds by itself."""
    config = _r2_s3.connect("http://127.0.0.1:1", "a", "b").meta.config
    assert (config.request_checksum_calculation, config.response_checksum_validation) == (
        "when_required", "when_required",
    )  # fmt: skip
    assert (config.signature_version, config.s3) == ("s3v4", {"addressing_style": "path"})
