"""Makes, changes or ends one account of Airflow: a program of its own, in Airflow's environment.

Reads ``{"name": ..., "password": ..., "role": ...}`` from its standard input, so that no command line holds a
password; a role of null ends the account. Airflow's own ``users create`` leaves an account that is there as it is.
"""

from __future__ import annotations

import json
import sys

from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder


def main() -> int:
    wanted = json.load(sys.stdin)
    name, password = wanted["name"], wanted["password"]
    with get_application_builder() as builder:
        manager = builder.sm
        user = manager.find_user(username=name)
        if wanted["role"] is None:
            if user is not None:
                manager.reset_user_sessions(user)
                user.roles.clear()
                manager.del_register_user(user)
            return int(manager.find_user(username=name) is not None)
        role = manager.find_role(wanted["role"])
        if role is None:
            manager.sync_roles()
            role = manager.find_role(wanted["role"])
        if user is None:
            user = manager.add_user(name, name, "-", f"{name}@localhost.invalid", role, password)
        else:
            user.roles = [role]
            manager.update_user(user)
            manager.reset_password(user.id, password)
    return 0 if user else 1


if __name__ == "__main__":
    sys.exit(main())
