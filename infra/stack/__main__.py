"""The commands behind ``make stack``, ``stack-down``, ``demo PROFILE=stack`` and the stack's accounts."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

import httpx

from darkroom.errors import DarkroomError
from infra.local import services
from infra.local.__main__ import print_addresses, say
from infra.local.client import AirflowClient
from infra.stack import supervision
from infra.stack.accounts import accounts
from infra.stack.environment import Stack, airflow_environment, lake_settings, stack_from_environment


def up(stack: Stack) -> None:
    """Starts what is not running, and prints where it is."""
    supervision.start(stack, say)
    AirflowClient(stack).ensure_pool("spark", 1, "One Spark job at a time on this machine.")
    print_addresses(stack)
    say(f"MLflow wants the same login; keys and passwords are in {stack.home / 'credentials.json'}")


def down(stack: Stack) -> None:
    supervision.stop(stack, say)


def status(stack: Stack) -> None:
    """One line a program: state, address, memory, log. Nothing where there never was a stack."""
    if stack.home.is_dir():
        print("\n".join(supervision.status_lines(stack)))


def demo(stack: Stack) -> None:
    os.environ.update(lake_settings(stack))
    from infra.local.demo import run_demo

    run_demo(stack, say, supervision)


def account(stack: Stack) -> None:
    """Makes or changes the account NAME with ROLE, or ends it where ROLE is none."""
    name, role = os.environ.get("NAME", ""), os.environ.get("ROLE", "")
    say(accounts(stack, "remove", name) if role == "none" else accounts(stack, "add", name, role))


COMMANDS = {"up": up, "down": down, "status": status, "demo": demo, "account": account}


def main() -> int:
    parser = argparse.ArgumentParser(prog="infra.stack", description=__doc__)
    parser.add_argument("command", choices=[*sorted(COMMANDS), "airflow"])
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of airflow")
    arguments = parser.parse_args()
    services.interrupt_as_exit()
    try:
        stack = stack_from_environment()
        if arguments.command == "airflow":
            command = [str(stack.bin / "airflow"), *arguments.arguments]
            return subprocess.run(command, env=airflow_environment(stack), check=False).returncode
        COMMANDS[arguments.command](stack)
    except (services.CannotRun, DarkroomError, TimeoutError, httpx.HTTPError) as error:
        print(f"darkroom: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("darkroom: interrupted. The stack may still be up: make status, make stack-down.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
