# Copyright (c) 2026, the sapflux.hosting authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects of a bucket through S3 (private to this collection)."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import tempfile
from functools import partial
from typing import Any, Dict, List, Optional

from ansible_collections.sapflux.hosting.plugins.module_utils._cloudflare import CloudflareError
from ansible_collections.sapflux.hosting.plugins.module_utils._r2_s3 import call, find

PART = 16 << 20
"""Bytes of a part. R2 wants all parts but the last of one size, and at least 5 MiB."""
MOST_PARTS = 10_000
BLOCK = 1 << 20


def local(path: str) -> Optional[Dict[str, Any]]:
    """``{size, sha256}`` of a file, None where there is none; :class:`CloudflareError` where it is unreadable."""
    digest, size = hashlib.sha256(), 0
    try:
        with open(path, "rb") as file:
            for block in iter(partial(file.read, BLOCK), b""):
                digest.update(block)
                size += len(block)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CloudflareError(f"{path} cannot be read: {error.strerror}") from error
    return {"size": size, "sha256": digest.hexdigest()}


def md5(data: bytes) -> str:
    """The header by which the server knows that it got what was sent."""
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


class Bucket:
    """The objects of one bucket. Everything raises :class:`CloudflareError`."""

    def __init__(self, client: Any, name: str) -> None:
        self.client = client
        self.name = name

    def look(self, key: str) -> Optional[Dict[str, Any]]:
        """``{size, sha256, content_type}`` of an object, None where there is none; sha256 may be ""."""
        found: Any = find(f"look at {key}", partial(self.client.head_object, Bucket=self.name, Key=key))
        if found is None:
            return None
        metadata = found.get("Metadata") or {}
        return {
            "size": found["ContentLength"],
            "sha256": str(metadata.get("sha256", "")),
            "content_type": str(found.get("ContentType", "")),
        }

    def listed(self, prefix: str) -> List[Dict[str, Any]]:
        """``{key, size, modified}`` of every object with this prefix, page after page."""
        where = {"Bucket": self.name, "Prefix": prefix}
        found: List[Dict[str, Any]] = []
        while True:
            page: Any = call(f"list the objects of {self.name}", partial(self.client.list_objects_v2, **where))
            found += [
                {"key": each["Key"], "size": each["Size"], "modified": each["LastModified"].isoformat()}
                for each in page.get("Contents") or []
            ]
            if not page.get("NextContinuationToken"):
                return sorted(found, key=lambda each: str(each["key"]))
            where["ContinuationToken"] = page["NextContinuationToken"]

    def signed(self, key: str, method: str, seconds: int) -> str:
        """An address that needs no key."""
        where = {"Bucket": self.name, "Key": key}
        sign = partial(self.client.generate_presigned_url, f"{method.lower()}_object", Params=where, ExpiresIn=seconds)
        return str(call(f"sign an address of {key}", sign))

    def upload(self, key: str, path: str, sha256: str, content_type: str) -> None:
        """Upload a file, in parts where it is larger than one; a part that fails leaves nothing behind."""
        what = f"upload {key}"
        about = {
            "Bucket": self.name,
            "Key": key,
            "ContentType": content_type,
            "Metadata": {"sha256": sha256},
        }
        size = max(PART, -(-os.path.getsize(path) // MOST_PARTS))
        with open(path, "rb") as file:
            data = file.read(size)
            if len(data) < size:
                call(what, partial(self.client.put_object, **about, Body=data, ContentMD5=md5(data)))
                return
            started: Any = call(what, partial(self.client.create_multipart_upload, **about))
            upload = {"Bucket": self.name, "Key": key, "UploadId": started["UploadId"]}
            try:
                parts: List[Dict[str, Any]] = []
                while data:
                    given = {**upload, "PartNumber": len(parts) + 1, "Body": data, "ContentMD5": md5(data)}
                    done: Any = call(what, partial(self.client.upload_part, **given))
                    parts.append({"PartNumber": len(parts) + 1, "ETag": done["ETag"]})
                    data = file.read(size)
                whole = {**upload, "MultipartUpload": {"Parts": parts}}
                call(what, partial(self.client.complete_multipart_upload, **whole))
            except CloudflareError:
                # What was uploaded is paid for; the reason of the failure matters more than that of this one.
                with contextlib.suppress(CloudflareError):
                    call(what, partial(self.client.abort_multipart_upload, **upload))
                raise

    def download(self, key: str, dest: str, sha256: str) -> None:
        """Write an object to a file, which is replaced only when the object is whole."""
        try:
            handle, temporary = tempfile.mkstemp(dir=os.path.dirname(os.path.abspath(dest)), prefix=".object-")
        except OSError as error:
            raise CloudflareError(f"{dest} cannot be written: {error.strerror}; make its folder first") from error
        digest = hashlib.sha256()
        try:
            with os.fdopen(handle, "wb") as file:
                answer: Any = call(f"download {key}", partial(self.client.get_object, Bucket=self.name, Key=key))
                for block in iter(lambda: call(f"download {key}", partial(answer["Body"].read, BLOCK)), b""):
                    digest.update(block)
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            if sha256 and digest.hexdigest() != sha256:
                raise CloudflareError(f"the object {key} is not what was uploaded: its SHA-256 differs")
            os.replace(temporary, dest)
        except OSError as error:
            raise CloudflareError(f"{dest} cannot be written: {error.strerror}") from error
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)

    def remove(self, key: str) -> None:
        """Remove an object."""
        call(f"remove {key}", partial(self.client.delete_object, Bucket=self.name, Key=key))
