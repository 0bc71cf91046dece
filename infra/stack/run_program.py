"""Becomes one program of the stack: ``python -m infra.stack.run_program <name>``, as the supervisor calls it.

The program's secrets go from the private file into its environment here, so that neither the supervisor's
configuration nor any command line holds one.
"""

from __future__ import annotations

import os
import sys

import psutil

from infra.local.environment import ROOT
from infra.local.services import end_leftovers, pid_file
from infra.stack.environment import stack_from_environment
from infra.stack.machine import postgres_user
from infra.stack.programs import programs_of


def main() -> None:
    stack = stack_from_environment()
    program = next(one for one in programs_of(stack) if one.name == sys.argv[1])
    environment = program.environment(stack)
    end_leftovers(stack, program)  # of a predecessor that was killed: they would keep its port
    me = psutil.Process()
    pid_file(stack, program).write_text(f"{me.pid} {me.create_time()}")
    user = postgres_user() if program.as_postgres else None
    if user:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.chdir("/" if user else ROOT)
    os.execvpe(program.command[0], program.command, environment)


if __name__ == "__main__":
    main()
