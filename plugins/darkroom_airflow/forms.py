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
        if rules["type"] == "string" and field.default == "":
            rules["type"] = ["string", "null"]
        params[name] = Param(field.default, **rules)
    return params


def fields_of(params: dict[str, Any]) -> dict[str, Any]:
    """The fields of a triggered form; a text field that was left empty comes as null and means its default.

    Where OpenLineage is on, a task that starts another run adds a field of that name: it is not ours.
    """
    return {name: "" if value is None else value for name, value in params.items() if name != "openlineage"}
