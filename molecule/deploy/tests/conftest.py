"""What the tests of deployments share."""

from __future__ import annotations

import pytest
from testinfra.host import Host

from tests.deploy_host import Shop


@pytest.fixture
def shop(host: Host) -> Shop:
    """The project on the host under test."""
    return Shop(host)
