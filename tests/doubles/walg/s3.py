"""An S3 client of the standard library: what WAL-G asks of a bucket. Signed with SigV4, bodies streamed."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import IO, Any
from urllib.parse import quote, urlsplit

from .crypt import Crypter
from .settings import Settings, WalgError

_NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
_UNSIGNED = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True)
class Item:
    """One object below the prefix: ``key`` relative to it, ``size`` in bytes, ``modified`` in UTC."""

    key: str
    size: int
    modified: datetime


def _reason(status: int, body: bytes) -> str:
    """The store's own code and sentence, in WAL-G's form."""
    code, message = ("Forbidden", "Forbidden") if status == 403 else (f"Status{status}", "")
    if body.lstrip().startswith(b"<"):
        root = ElementTree.fromstring(body)
        code, message = root.findtext("Code") or code, root.findtext("Message") or message
    return f"{code}: {message}\n\tstatus code: {status}, request id: , host id: "


class Store:
    """The prefix of one cluster in one bucket."""

    def __init__(self, settings: Settings) -> None:
        prefix = urlsplit(settings.get("WALG_S3_PREFIX"))
        self.bucket, self.prefix = prefix.netloc, prefix.path.strip("/")
        endpoint = urlsplit(settings.get("AWS_ENDPOINT"))
        self._secure, self._host = endpoint.scheme == "https", endpoint.netloc
        self._region = settings.get("AWS_REGION") or "us-east-1"
        self._key, self._secret = settings.get("AWS_ACCESS_KEY_ID"), settings.get("AWS_SECRET_ACCESS_KEY")
        self._retries = settings.number("WALG_S3_MAX_RETRIES", 15)
        self._crypter = Crypter(settings)

    def full(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _headers(self, method: str, path: str, query: str, extra: dict[str, str]) -> dict[str, str]:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        headers = {"host": self._host, "x-amz-date": stamp, "x-amz-content-sha256": _UNSIGNED, **extra}
        names = ";".join(sorted(headers))
        lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{_UNSIGNED}"
        scope = f"{stamp[:8]}/{self._region}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self._secret}".encode()
        for part in (stamp[:8], self._region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.new(key, text.encode(), "sha256").hexdigest()
        credential = f"AWS4-HMAC-SHA256 Credential={self._key}/{scope}, SignedHeaders={names}, Signature={signature}"
        return {**headers, "authorization": credential}

    @contextmanager
    def _call(
        self, method: str, key: str, query: dict[str, str] | None = None, body: IO[bytes] | None = None, size: int = 0
    ) -> Iterator[http.client.HTTPResponse]:
        """One request, tried again while the store cannot be reached or answers 5xx."""
        path = "/" + quote(f"{self.bucket}/{key}".rstrip("/"), safe="/~")
        text = "&".join(f"{quote(k, safe='~')}={quote(v, safe='~')}" for k, v in sorted((query or {}).items()))
        delay, tries = 0.05, 0
        while True:
            tries += 1
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            connection = kind(self._host, timeout=60)
            extra = {"content-length": str(size)} if body is not None else {}
            try:
                if body is not None:
                    body.seek(0)
                headers = self._headers(method, path, text, {})
                connection.request(method, f"{path}?{text}" if text else path, body=body, headers={**headers, **extra})
                answer = connection.getresponse()
                if answer.status >= 500 and tries <= self._retries:
                    answer.read()
                    raise ConnectionError(f"status code: {answer.status}")
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if tries > self._retries:
                    raise WalgError(f"RequestError: send request failed\ncaused by: {error}") from error
                time.sleep(delay)
                delay = min(delay * 2, 10)
                continue
            try:
                yield answer
                return
            finally:
                connection.close()

    def exists(self, key: str) -> bool:
        return self.head(key) is not None

    def head(self, key: str) -> Item | None:
        full = self.full(key)
        with self._call("HEAD", full) as answer:
            answer.read()
            if answer.status == 404:
                return None
            if answer.status != 200:
                reason = _reason(answer.status, b"")
                raise WalgError(f'check file for existence in "default": failed to head s3 object {full!r}: {reason}')
            modified = parsedate_to_datetime(answer.headers["Last-Modified"]).astimezone(UTC)
            return Item(key, int(answer.headers["Content-Length"]), modified)

    @contextmanager
    def open(self, key: str) -> Iterator[IO[bytes]]:
        """The object's content as a stream; KeyError when it is not there."""
        full = self.full(key)
        with self._call("GET", full) as answer:
            if answer.status == 404:
                raise KeyError(full)
            if answer.status != 200:
                reason = _reason(answer.status, answer.read())
                raise WalgError(f'read object from "default": failed to read object: {full!r} from S3: {reason}')
            yield answer

    def read(self, key: str) -> bytes:
        with self.open(key) as stream:
            return stream.read()

    @contextmanager
    def open_sealed(self, key: str) -> Iterator[IO[bytes]]:
        """Like ``open``, for what ``put_sealed`` wrote."""
        with self.open(key) as stream:
            yield self._crypter.reader(stream)

    def put_sealed(self, key: str, body: IO[bytes]) -> int:
        """Writes an object, encrypted when there is a key; the bytes written."""
        body.seek(0)
        with tempfile.TemporaryFile() as sealed:
            self._crypter.encrypt(body, sealed)
            return self.put(key, sealed)

    def put(self, key: str, body: IO[bytes]) -> int:
        """Writes an object; the bytes written."""
        size = body.seek(0, 2)
        full = self.full(key)
        with self._call("PUT", full, body=body, size=size) as answer:
            data = answer.read()
            if answer.status != 200:
                raise WalgError(f"failed to upload {full!r} to bucket {self.bucket!r}: {_reason(answer.status, data)}")
        return size

    def delete(self, key: str) -> None:
        with self._call("DELETE", self.full(key)) as answer:
            data = answer.read()
            if answer.status not in (200, 204):
                raise WalgError(f"failed to delete s3 object {self.full(key)!r}: {_reason(answer.status, data)}")

    def list(self, folder: str = "", *, deep: bool = True) -> tuple[list[Item], list[str]]:
        """Objects and folders below ``folder`` ("" or ending in /), by name."""
        root = self.full(folder) if folder else (f"{self.prefix}/" if self.prefix else "")
        items: list[Item] = []
        folders: list[str] = []
        token = ""
        while True:
            query = {"list-type": "2", "prefix": root}
            query |= {} if deep else {"delimiter": "/"}
            query |= {"continuation-token": token} if token else {}
            with self._call("GET", "", query) as answer:
                data = answer.read()
                if answer.status != 200:
                    reason = _reason(answer.status, data)
                    raise WalgError(f'list folder in storage "default": failed to list s3 folder: {root!r}: {reason}')
            page = ElementTree.fromstring(data)
            items += [_item(node, len(root) - len(folder)) for node in page.iter(f"{_NAMESPACE}Contents")]
            folders += [
                (node.findtext(f"{_NAMESPACE}Prefix") or "")[len(root) :]
                for node in page.iter(f"{_NAMESPACE}CommonPrefixes")
            ]
            token = page.findtext(f"{_NAMESPACE}NextContinuationToken") or ""
            if not token:
                return items, folders


def _item(node: Any, skip: int) -> Item:
    return Item(
        key=(node.findtext(f"{_NAMESPACE}Key") or "")[skip:],
        size=int(node.findtext(f"{_NAMESPACE}Size") or 0),
        modified=datetime.fromisoformat(node.findtext(f"{_NAMESPACE}LastModified") or ""),
    )
