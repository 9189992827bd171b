"""Fixtures of the host's tests that the tests of bench use too."""

from tests.host.conftest import host

__all__ = ["host"]
