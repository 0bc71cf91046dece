"""The servers of the integration tests, and a line for each test that says how often it killed."""

from typing import Any

from tests.crash.campaign import KILLS
from tests.integration.conftest import hdfs_server, minio_server, s3_server

__all__ = ["hdfs_server", "minio_server", "s3_server"]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Properties of tests come from every process that ran some."""
    reports = terminalreporter.stats.get("passed", [])
    told = [line for report in reports for name, line in report.user_properties if name == KILLS]
    if told:
        terminalreporter.write_sep("=", "kills")
        for line in sorted(told):
            terminalreporter.write_line(line)
