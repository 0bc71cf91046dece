"""Airflow forms made from the request models of darkroom.requests."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Param
from pydantic import BaseModel


def params_of(request: type[BaseModel]) -> dict[str, Param]:
    """One Param a field, with the field's title, description, default and JSON schema."""
    schema = request.model_json_schema()
    params = {}
    for name, field in request.model_fields.items():
        rules: dict[str, Any] = {key: value for key, value in schema["properties"][name].items() if key != "default"}
        if rules.get("type") == "string" and field.default == "":
            rules["type"] = ["string", "null"]
        if field.default is None:  # a form of Airflow knows types, not alternatives
            one, _ = rules.pop("anyOf")
            rules |= {**one, "type": [one["type"], "null"]}
        params[name] = Param(field.default, **rules)
    return params


def fields_of(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a triggered form; one that was left empty comes as null and means its default.

    Where OpenLineage is on, a task that starts another run adds a field of that name: it is not ours.
    """
    return {name: value for name, value in params.items() if value is not None and name != "openlineage"}
