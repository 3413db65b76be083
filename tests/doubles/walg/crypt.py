"""Client-side encryption as WAL-G writes it: libsodium's secretstream over chunks of 8 KiB, after the compression."""

from __future__ import annotations

import ctypes
import io
from pathlib import Path
from typing import IO, Any

from .settings import Settings, WalgError

_CHUNK, _TAG, _HEADER, _STATE = 8192, 17, 24, 52
_FINAL = 3


class Crypter:
    """Encrypts and decrypts with the key of WALG_LIBSODIUM_KEY_PATH; without one it hands everything through."""

    def __init__(self, settings: Settings) -> None:
        self._path, self._transform = (
            settings.get("WALG_LIBSODIUM_KEY_PATH"),
            settings.get("WALG_LIBSODIUM_KEY_TRANSFORM", "none"),
        )
        self._key = b""

    def _setup(self) -> ctypes.CDLL:
        if not self._key:
            try:
                text = Path(self._path).read_text(encoding="ascii").strip()
            except OSError as error:
                reason = f"open {self._path}: {(error.strerror or '').lower()}"
                raise WalgError(f"libsodium Crypter: unable to read key from file: {reason}") from error
            try:
                self._key = bytes.fromhex(text) if self._transform == "hex" else text.encode()[:32].ljust(32, b"\0")
            except ValueError as error:
                raise WalgError(f"libsodium Crypter: during key transform: {error}") from error
            if len(self._key) != 32:
                size = f"key must be exactly 32 bytes (got {len(self._key)} bytes)"
                raise WalgError(f"libsodium Crypter: during key transform: {size}")
        library = ctypes.CDLL("libsodium.so.23")
        library.sodium_init()
        return library

    def encrypt(self, body: IO[bytes], target: IO[bytes]) -> None:
        """Copies ``body`` from where it stands to ``target``."""
        if not self._path:
            while block := body.read(1 << 20):
                target.write(block)
            return
        library, state = self._setup(), ctypes.create_string_buffer(_STATE)
        header = ctypes.create_string_buffer(_HEADER)
        library.crypto_secretstream_xchacha20poly1305_init_push(state, header, self._key)
        target.write(header.raw)
        out = ctypes.create_string_buffer(_CHUNK + _TAG)
        while True:
            block = body.read(_CHUNK)
            size = ctypes.c_ulonglong()
            last = len(block) < _CHUNK
            library.crypto_secretstream_xchacha20poly1305_push(
                state, out, ctypes.byref(size), block, ctypes.c_ulonglong(len(block)), None, ctypes.c_ulonglong(0),
                ctypes.c_ubyte(_FINAL if last else 0),
            )  # fmt: skip
            target.write(out.raw[: size.value])
            if last:
                return

    def reader(self, stream: IO[bytes]) -> IO[bytes]:
        """The plain content of an object; WalgError when the key does not open it."""
        if not self._path:
            return stream
        try:
            library = self._setup()
        except WalgError as error:
            raise WalgError(f"failed to init decrypt reader: {error}") from error
        raw: Any = _Reader(stream, library, self._key)
        return io.BufferedReader(raw, 1 << 16)


class _Reader(io.RawIOBase):
    """Opens chunk after chunk."""

    def __init__(self, stream: IO[bytes], library: ctypes.CDLL, key: bytes) -> None:
        self._stream, self._library = stream, library
        self._state, self._left = ctypes.create_string_buffer(_STATE), b""
        header = self._exactly(_HEADER)
        if len(header) < _HEADER:
            raise WalgError("failed to read libsodium header: unexpected EOF")
        if library.crypto_secretstream_xchacha20poly1305_init_pull(self._state, header, key) != 0:
            raise WalgError("corrupted libsodium header")

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (block := self._stream.read(size - len(data))):
            data += block
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self._left:
            chunk = self._exactly(_CHUNK + _TAG)
            if not chunk:
                return 0
            out, size, tag = ctypes.create_string_buffer(_CHUNK), ctypes.c_ulonglong(), ctypes.c_ubyte()
            code = self._library.crypto_secretstream_xchacha20poly1305_pull(
                self._state, out, ctypes.byref(size), ctypes.byref(tag), chunk, ctypes.c_ulonglong(len(chunk)), None,
                ctypes.c_ulonglong(0),
            )  # fmt: skip
            if code != 0:
                raise WalgError("corrupted chunk")
            self._left = out.raw[: size.value]
        count = min(len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count
