"""What the tests of rotation share."""

import pytest

from integration.process.rotation.stand import Heard


@pytest.fixture
def heard(capfd: pytest.CaptureFixture[str]) -> Heard:
    """What services log that begin after this."""
    return Heard(capfd)
