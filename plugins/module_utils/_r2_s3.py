# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets of any server that speaks S3, MinIO before all, through boto3 (private to this collection)."""

from __future__ import annotations

from functools import partial
from typing import Any, Callable, Dict, List, Mapping, Optional, TypeVar

from ansible_collections.sapflux.hosting.plugins.module_utils import _r2_wish
from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # pragma: no cover - told by connect()
    HAS_BOTO3 = False
else:
    HAS_BOTO3 = True

T = TypeVar("T")
ASPECTS = ("lifecycle", "cors")
GONE = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NoSuchLifecycleConfiguration", "NoSuchCORSConfiguration"})
OWNED = frozenset({"BucketAlreadyOwnedByYou"})
WAYS_OUT = {
    "BucketNotEmpty": "say force to empty it",
    "InvalidAccessKeyId": "check the access key",
    "SignatureDoesNotMatch": "check the secret key",
    "NotImplemented": "this server does not have it; leave the option out",
    "BucketAlreadyExists": "choose another name: this one belongs to somebody else",
}


def connect(endpoint: str, access_key: str, secret_key: str, region: str = "auto") -> Any:
    """A client. Raises :class:`CloudflareError` where boto3 is missing or the address is none."""
    if not HAS_BOTO3:
        raise CloudflareError("the Python library boto3 is missing where this runs: install it (pip install boto3)")
    # R2 refuses the checksums that boto3 adds by itself since 2025, and MinIO does not need them.
    config = Config(
        region_name=region,
        signature_version="s3v4",
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path"},
        connect_timeout=10,
        retries={"mode": "standard", "max_attempts": 5},
    )
    try:
        return boto3.client(
            "s3", endpoint_url=endpoint, aws_access_key_id=access_key, aws_secret_access_key=secret_key, config=config
        )
    except ValueError as error:
        raise CloudflareError(f"{endpoint} is no address of an S3 server: {error}") from error


def call(what: str, act: Callable[[], T]) -> T:
    """What ``act`` answers; every refusal of the server as a :class:`CloudflareError` that says ``what`` was tried."""
    try:
        return act()
    except ClientError as error:
        said = error.response.get("Error", {})
        code = str(said.get("Code", ""))
        way = f"; {WAYS_OUT[code]}" if code in WAYS_OUT else ""
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        message = str(said.get("Message") or "no reason given").rstrip(".")
        raise CloudflareError(f"the S3 server refused to {what}: {message} ({code}){way}", status) from error
    except BotoCoreError as error:
        raise CloudflareError(f"the S3 server could not be asked to {what}: {error}", 0) from error


def find(what: str, act: Callable[[], T]) -> Optional[T]:
    """What ``act`` answers, None where the server says that it is not there."""
    try:
        return call(what, act)
    except CloudflareError as error:
        cause = error.__cause__
        if isinstance(cause, ClientError) and str(cause.response.get("Error", {}).get("Code")) in GONE:
            return None
        raise


class S3:
    """The buckets of one server: the same calls as of :class:`_r2.R2`, for what S3 has."""

    fresh: Mapping[str, Any] = {"lifecycle": [], "cors": []}

    def __init__(self, client: Any) -> None:
        self.client = client

    def read(self, name: str) -> Optional[Dict[str, Any]]:
        """``{name, location, jurisdiction, storage_class}``, None where there is no such bucket."""
        if find(f"look at the bucket {name}", lambda: self.client.head_bucket(Bucket=name)) is None:
            return None
        return {"name": name, "location": "", "jurisdiction": "", "storage_class": ""}

    def aspect(self, name: str, kind: str) -> Any:
        """One aspect of a bucket as it is."""
        if kind == "lifecycle":
            found = find(
                f"read the lifecycle of {name}", lambda: self.client.get_bucket_lifecycle_configuration(Bucket=name)
            )
            return _r2_wish.tidy(kind, [lifecycle_from(rule) for rule in (found or {}).get("Rules", [])])
        found = find(f"read the CORS rules of {name}", lambda: self.client.get_bucket_cors(Bucket=name))
        return _r2_wish.tidy(kind, [cors_from(rule) for rule in (found or {}).get("CORSRules", [])])

    def create(self, name: str, _location: Optional[str], _storage_class: Optional[str]) -> bool:
        """Make a bucket; False where it was there all the same."""
        try:
            call(f"make the bucket {name}", lambda: self.client.create_bucket(Bucket=name))
        except CloudflareError as error:
            if str(getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")) in OWNED:
                return False
            raise
        return True

    def apply(self, name: str, kind: str, _have: Any, want: Any) -> None:
        """Set one aspect."""
        client = self.client
        if kind == "lifecycle":
            rules: List[Any] = [lifecycle_to(rule) for rule in want]
            what = f"set the lifecycle of {name}"
            if rules:
                given = {"Rules": rules}
                call(what, lambda: client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=given))
            else:
                call(what, lambda: client.delete_bucket_lifecycle(Bucket=name))
            return
        what, rules = f"set the CORS rules of {name}", [cors_to(rule) for rule in want]
        if rules:
            call(what, lambda: client.put_bucket_cors(Bucket=name, CORSConfiguration={"CORSRules": rules}))
        else:
            call(what, lambda: client.delete_bucket_cors(Bucket=name))

    def holds_objects(self, name: str) -> bool:
        """Whether there is an object in the bucket."""
        what = f"list the objects of {name}"
        return bool(call(what, lambda: self.client.list_objects_v2(Bucket=name, MaxKeys=1)).get("Contents"))

    def empty(self, name: str) -> int:
        """Give up all uploads and remove every object, page after page; how many objects there were."""
        what = f"empty the bucket {name}"
        removed = 0
        while True:
            uploads = call(what, lambda: self.client.list_multipart_uploads(Bucket=name)).get("Uploads") or []
            if not uploads:
                break
            for each in uploads:
                given = {"Bucket": name, "Key": each["Key"], "UploadId": each["UploadId"]}
                call(what, partial(self.client.abort_multipart_upload, **given))
        while True:
            page = call(what, lambda: self.client.list_objects_v2(Bucket=name)).get("Contents") or []
            if not page:
                return removed
            keys = {"Objects": [{"Key": each["Key"]} for each in page], "Quiet": True}
            answer = call(what, partial(self.client.delete_objects, Bucket=name, Delete=keys))
            # The answer is good, also where single objects stay.
            for failed in answer.get("Errors") or []:
                reason = f"{failed.get('Message')} ({failed.get('Code')})"
                raise CloudflareError(f"the S3 server refused to {what}: {failed.get('Key')}: {reason}")
            removed += len(page)

    def remove(self, name: str) -> None:
        """Remove an empty bucket."""
        call(f"remove the bucket {name}", lambda: self.client.delete_bucket(Bucket=name))


def _span_to(condition: Mapping[str, Any]) -> Dict[str, Any]:
    if condition["type"] == "Age":
        return {"Days": condition["maxAge"] // _r2_wish.DAY}
    return {"Date": condition["date"]}


def _span_from(part: Mapping[str, Any]) -> Dict[str, Any]:
    if "Days" in part:
        return {"type": "Age", "maxAge": part["Days"] * _r2_wish.DAY}
    date = part["Date"]
    return {"type": "Date", "date": date if isinstance(date, str) else date.isoformat()}


def lifecycle_to(rule: Mapping[str, Any]) -> Dict[str, Any]:
    """A lifecycle rule as S3 has it."""
    made: Dict[str, Any] = {
        "ID": rule["id"],
        "Status": "Enabled" if rule["enabled"] else "Disabled",
        "Filter": {"Prefix": rule["conditions"]["prefix"]},
    }
    if "abortMultipartUploadsTransition" in rule:
        seconds = rule["abortMultipartUploadsTransition"]["condition"]["maxAge"]
        made["AbortIncompleteMultipartUpload"] = {"DaysAfterInitiation": seconds // _r2_wish.DAY}
    if "deleteObjectsTransition" in rule:
        made["Expiration"] = _span_to(rule["deleteObjectsTransition"]["condition"])
    if "storageClassTransitions" in rule:
        made["Transitions"] = [
            {**_span_to(each["condition"]), "StorageClass": "STANDARD_IA"} for each in rule["storageClassTransitions"]
        ]
    return made


def lifecycle_from(rule: Mapping[str, Any]) -> Dict[str, Any]:
    """A lifecycle rule of S3 in the form of R2's API."""
    prefix = (rule.get("Filter") or {}).get("Prefix") or rule.get("Prefix") or ""
    made: Dict[str, Any] = {
        "id": rule.get("ID", ""),
        "enabled": rule["Status"] == "Enabled",
        "conditions": {"prefix": prefix},
    }
    if rule.get("AbortIncompleteMultipartUpload"):
        days = rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        made["abortMultipartUploadsTransition"] = {"condition": {"type": "Age", "maxAge": days * _r2_wish.DAY}}
    if {"Days", "Date"} & set(rule.get("Expiration") or {}):
        made["deleteObjectsTransition"] = {"condition": _span_from(rule["Expiration"])}
    made["storageClassTransitions"] = [
        {"condition": _span_from(each), "storageClass": "InfrequentAccess"} for each in rule.get("Transitions") or []
    ]
    return made


CORS = (("origins", "AllowedOrigins"), ("methods", "AllowedMethods"), ("headers", "AllowedHeaders"))
CORS_TOO = (("id", "ID"), ("exposeHeaders", "ExposeHeaders"), ("maxAgeSeconds", "MaxAgeSeconds"))


def cors_to(rule: Mapping[str, Any]) -> Dict[str, Any]:
    """A CORS rule as S3 has it."""
    made = {theirs: rule["allowed"][ours] for ours, theirs in CORS if ours in rule["allowed"]}
    return {**made, **{theirs: rule[ours] for ours, theirs in CORS_TOO if ours in rule}}


def cors_from(rule: Mapping[str, Any]) -> Dict[str, Any]:
    """A CORS rule of S3 in the form of R2's API."""
    made: Dict[str, Any] = {"allowed": {ours: rule[theirs] for ours, theirs in CORS if theirs in rule}}
    return {**made, **{ours: rule[theirs] for ours, theirs in CORS_TOO if theirs in rule}}
