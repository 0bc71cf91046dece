"""Kinds of models for tests; they join those of training/kinds while a test runs."""

from __future__ import annotations

from typing import Any

FITTED: list[Any] = []  # every job that such a kind has fitted in this process
