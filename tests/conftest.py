"""What every test may use: hypothesis profiles, and the rule about servers a test needs."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

# Fixtures that any test may use.
from tests.support.s3_servers import s3_bucket, s3_credentials, s3_server, seaweedfs, versitygw

__all__ = ["need", "s3_bucket", "s3_credentials", "s3_server", "seaweedfs", "versitygw"]

# As `merklelog.client` has it, but before any test imports gRPC: children of a test process must not hang in it.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

IN_CI = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# The cores are shared and no test passes or fails by time, so neither does a property. In CI the examples are
# the same at each run: a red run says something of the change. `dev` and `soak` look for new ones.
COMMON = {"deadline": None, "print_blob": True, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **COMMON)
settings.register_profile("dev", max_examples=100, **COMMON)
settings.register_profile("soak", max_examples=10_000, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if IN_CI else "dev"))

# A shell that starts this in the background has SIGINT ignored, and every program started from here would inherit
# that: those that are to end on an interrupt never would.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure() -> None:
    """Collecting makes a million objects that live to the end; to look through them again and again is slow."""
    gc.disable()


def pytest_collection_finish() -> None:
    """What was collected is not looked through any more; garbage of the tests is collected as ever."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def need() -> Callable[[bool, str], None]:
    """`need(found, "a MinIO server")`: skips the test when it was not found, and fails it in CI.

    A skip in CI would let a whole suite stop running without anyone seeing it.
    """

    def check(found: bool, what: str) -> None:
        if not found and IN_CI:
            pytest.fail(f"needs {what}, and CI=true: nothing may be skipped here")
        if not found:
            pytest.skip(f"needs {what}")

    return check
