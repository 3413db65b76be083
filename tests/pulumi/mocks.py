"""Pulumi without its engine: the program runs, and every resource that it declares is kept."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from pulumi.runtime import mocks

from tests.unit.fixtures import ROOT

sys.path.insert(0, str(ROOT / "infra" / "pulumi"))

ZONE_ID = "f" * 32
IPV4, IPV6_NETWORK, IPV6 = "198.51.100.10", "2001:db8:1::", "2001:db8:1::1"


@dataclasses.dataclass(frozen=True)
class Declared:
    """A resource as the engine would be told of it; ``inputs`` are by the names of the API of Pulumi."""

    type: str
    name: str
    inputs: dict[str, Any]


class Recorder(mocks.Mocks):  # type: ignore[misc]
    """Answers in place of the engine and the clouds."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.declared.append(Declared(args.typ, args.name, dict(args.inputs)))
        outputs = dict(args.inputs)
        if args.typ == "hcloud:index/primaryIp:PrimaryIp":
            outputs["ipAddress"] = IPV4 if args.inputs["type"] == "ipv4" else IPV6_NETWORK
        # Ids at Hetzner are numbers.
        return str(1000 + len(self.declared)), outputs

    def call(self, args: mocks.MockCallArgs) -> Mapping[str, Any]:
        assert args.token == "cloudflare:index/getZone:getZone", args.token
        return {**args.args, "zoneId": ZONE_ID, "id": ZONE_ID}


def run(document: Mapping[str, Any], **options: Any) -> tuple[list[Declared], dict[str, Any]]:
    """(every resource, the outputs of the stack) of a run of the program on a document."""
    recorder = Recorder()
    outputs, _options = _run(recorder, document, options)
    return recorder.declared, outputs


def options(document: Mapping[str, Any], **options: Any) -> dict[str, pulumi.ResourceOptions]:
    """The options that every resource was declared with, by name."""
    _outputs, found = _run(Recorder(), document, options)
    return found


def _run(
    recorder: Recorder, document: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, pulumi.ResourceOptions]]:
    import program

    exported: dict[str, pulumi.Output[Any]] = {}
    found: dict[str, pulumi.ResourceOptions] = {}
    original = pulumi.CustomResource.__init__

    def seen(self: Any, kind: str, name: str, props: Any = None, opts: Any = None, *rest: Any, **more: Any) -> None:
        found[name] = opts
        original(self, kind, name, props, opts, *rest, **more)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(recorder, project="sapflux-hosting", stack="test", preview=False)
    patch = pytest.MonkeyPatch()
    patch.setattr(pulumi, "export", lambda name, value: exported.setdefault(name, pulumi.Output.from_input(value)))
    patch.setattr(pulumi.CustomResource, "__init__", seen)
    try:
        mocks.test(lambda: program.build(document, **options))()
        outputs = {name: loop.run_until_complete(value.future()) for name, value in exported.items()}
    finally:
        patch.undo()
        loop.close()
    return outputs, found
