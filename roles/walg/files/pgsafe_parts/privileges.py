"""Work done as the account that owns the data, from a run that is root for the rest."""

# paths are plain strings in all of pgsafe
from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from .common import Config, PgsafeError

_SET_PDEATHSIG = 1


def owner_of(config: Config) -> tuple[int, int]:
    """User and group of the data; of the directory that holds them while they are not there."""
    path = config.data if os.path.isdir(config.data) else config.state
    info = os.stat(path)
    return info.st_uid, info.st_gid


def become_owner(config: Config) -> None:
    """Root gives its rights up for those of the account that owns the data; everybody else stays what they are."""
    if os.geteuid() != 0:
        return
    import pwd

    user, group = owner_of(config)
    if user == 0:
        raise PgsafeError(f"{config.data} belongs to root: PostgreSQL would not start there")
    os.initgroups(pwd.getpwuid(user).pw_name, group)
    os.setgid(group)
    os.setuid(user)
    # the caller's directory may be closed to the new user, and every child would complain
    os.chdir("/")
    os.umask(0o077)


def _child(config: Config, out: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    try:
        # whoever kills the run must not leave half of it behind
        ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
        become_owner(config)
        answer: dict[str, Any] = {"ok": function(*arguments)}
    except PgsafeError as error:
        answer = {"error": str(error), "code": error.code}
    except OSError as error:
        answer = {"error": str(error), "code": 1}
    with os.fdopen(out, "w", encoding="utf-8") as pipe:
        json.dump(answer, pipe)
    return 0


def as_owner(config: Config, function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a child that has given root up; its answer must be JSON, its errors come through."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reader)
            code = _child(config, writer, function, arguments)
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _pid, status = os.waitpid(child, 0)
    if not text:
        raise PgsafeError(f"{getattr(function, '__name__', 'a step')} was ended (status {status})")
    answer = json.loads(text)
    if "error" in answer:
        raise PgsafeError(answer["error"], answer["code"])
    return answer["ok"]
