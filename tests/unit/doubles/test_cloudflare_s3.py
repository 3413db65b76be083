"""R2's S3 door: boto3 signs, and only a good token on a bucket that is there gets through, as far as it may."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.doubles.cloudflare import ACCOUNT, Cloudflare, cloudflare, r2
from tests.doubles.cloudflare import s3 as door
from tests.doubles.cloudflare.core import Token, group_id
from tests.doubles.web import Reply, Request

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "a key/with ä+sign"


class Shelf:
    """A store of two verbs behind the door."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def __call__(self, request: Request) -> Reply:
        if request.method == "PUT":
            self.held[request.path] = request.raw
            return Reply(200, raw=b"")
        held = self.held[request.path]
        return Reply(200, raw=b"" if request.method == "HEAD" else held, headers={"Content-Length": str(len(held))})


@pytest.fixture
def cloud() -> Cloudflare:
    made = cloudflare()
    made.part(r2.Buckets).all["default", "mine"] = r2.Bucket("mine", "default", "weur", "Standard", "", "")
    return made


@pytest.fixture
def objects(cloud: Cloudflare) -> Iterator[door.Objects]:
    made = door.Objects(cloud, Shelf())
    with made.running():
        yield made


def token(cloud: Cloudflare, name: str, verb: str, *buckets: str) -> Token:
    """A token for the objects of buckets."""
    resources = {f"com.cloudflare.edge.r2.bucket.{ACCOUNT}_default_{bucket}": "*" for bucket in buckets}
    groups = [{"id": group_id(f"{door.ITEMS} {verb}")}]
    policy = {"effect": "allow", "permission_groups": groups, "resources": resources}
    made = Token(cloud.new_id(), f"value of {name}", name, [policy])
    cloud.tokens[made.id] = made
    return made


def client(objects: door.Objects, of: Token, secret: str = "") -> S3Client:
    """boto3 as R2's documentation sets it up; the host name is the double's own, which stands for no jurisdiction."""
    made: Any = boto3.client(
        "s3",
        endpoint_url=objects.url,
        region_name="auto",
        aws_access_key_id=of.id,
        aws_secret_access_key=secret or door.secret_of(of),
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"max_attempts": 1},
        ),
    )
    return made  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def under_its_own_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests come to a loopback address here; which host name means which jurisdiction has a test of its own."""
    monkeypatch.setattr(door, "jurisdiction_of", lambda _headers: "default")


def refused(call: Any, **arguments: Any) -> tuple[int, str]:
    """(status, code) of a refusal."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=arguments.pop("bucket", "mine"), Key=KEY, **arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def test_what_a_pair_writes_it_reads(cloud: Cloudflare, objects: door.Objects) -> None:
    pair = token(cloud, "backup", "Write", "mine")
    store = client(objects, pair)
    store.put_object(Bucket="mine", Key=KEY, Body=b"a segment")
    assert store.get_object(Bucket="mine", Key=KEY)["Body"].read() == b"a segment"
    assert store.head_object(Bucket="mine", Key=KEY)["ContentLength"] == 9
    assert objects.used == {"backup": 3}


def test_a_pair_that_reads_does_not_write(cloud: Cloudflare, objects: door.Objects) -> None:
    client(objects, token(cloud, "backup", "Write", "mine")).put_object(Bucket="mine", Key=KEY, Body=b"a segment")
    store = client(objects, token(cloud, "read", "Read", "mine"))
    assert store.get_object(Bucket="mine", Key=KEY)["Body"].read() == b"a segment"
    assert refused(store.put_object, Body=b"x") == (403, "AccessDenied")
    assert refused(store.delete_object) == (403, "AccessDenied")


def test_a_pair_opens_its_own_buckets_and_makes_none(cloud: Cloudflare, objects: door.Objects) -> None:
    store = client(objects, token(cloud, "backup", "Write", "mine", "not-made"))
    assert refused(store.put_object, bucket="other", Body=b"x") == (403, "AccessDenied")
    assert refused(store.put_object, bucket="not-made", Body=b"x") == (404, "NoSuchBucket")


def test_a_token_that_ended_opens_nothing(cloud: Cloudflare, objects: door.Objects) -> None:
    pair = token(cloud, "backup", "Write", "mine")
    store = client(objects, pair)
    pair.status = "disabled"
    assert refused(store.put_object, Body=b"x") == (401, "Unauthorized")
    del cloud.tokens[pair.id]
    assert refused(store.put_object, Body=b"x") == (401, "Unauthorized")
    assert objects.used == {}


def test_a_secret_that_was_rolled_signs_nothing_any_more(cloud: Cloudflare, objects: door.Objects) -> None:
    pair = token(cloud, "backup", "Write", "mine")
    store = client(objects, pair)
    pair.value = "another one"
    assert refused(store.put_object, Body=b"x") == (403, "SignatureDoesNotMatch")


def test_who_signs_nothing_is_refused(objects: door.Objects) -> None:
    with pytest.raises(HTTPError, match="400"):
        urllib.request.urlopen(f"{objects.url}/mine/key", timeout=10)


@pytest.mark.parametrize(
    ("host", "jurisdiction"),
    [(door.HOST, "default"), (f"{ACCOUNT}.eu.{door.DOMAIN}", "eu"), (f"{door.HOST}:443", "default")],
)
def test_each_jurisdiction_has_a_name(host: str, jurisdiction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert door.jurisdiction_of({"host": host}) == jurisdiction
