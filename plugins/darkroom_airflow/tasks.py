"""The ``work`` decorator: a Python task with our buttons, whose errors keep the page that explains them."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from airflow.providers.standard.decorators.python import _PythonDecoratedOperator
from airflow.sdk.bases.decorator import TaskDecorator, task_decorator_factory

from darkroom.errors import DarkroomError
from darkroom_airflow.lineage_events import TellsLineage
from darkroom_airflow.links import OpenMlflow, OpenReport, name_run


class WorkOperator(TellsLineage, _PythonDecoratedOperator):
    """A decorated Python function whose return value may name a ``page`` and an ``mlflow_url``."""

    custom_operator_name = "@work"
    operator_extra_links = (OpenReport(), OpenMlflow())

    def execute(self, context: Any) -> Any:
        name_run(context)
        try:
            self.told = super().execute(context)
        except DarkroomError as error:
            if error.page:
                context["ti"].xcom_push("page", error.page)
            raise
        return self.told

    def lineage_name(self) -> str:
        return self.python_callable.__name__

    def lineage_request(self) -> dict[str, Any]:
        return dict(signature(self.python_callable).bind_partial(*self.op_args, **self.op_kwargs).arguments)


def work(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Like ``airflow.sdk.task``, with links to reports and MLflow on the finished task."""
    kwargs.setdefault("multiple_outputs", False)
    return task_decorator_factory(python_callable=python_callable, decorated_operator_class=WorkOperator, **kwargs)
