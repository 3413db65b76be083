"""One validating proxy for the tests of a description, and the demand that nothing breaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.proxy import Proxy, running


@pytest.fixture(scope="module")
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """One for all tests of a module, as it needs some seconds to start; ``SPEC`` holds the arguments of ``running``."""
    with running(*request.module.SPEC) as started:
        yield started


@pytest.fixture
def kept(proxy: Proxy, request: pytest.FixtureRequest) -> Iterator[None]:
    """Nothing in a test breaks the description, unless the test is about that."""
    before = len(proxy.violations)
    yield
    if "breaks" not in request.node.name:
        assert proxy.violations[before:] == []
