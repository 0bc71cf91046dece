"""Airflow and MLflow as plain processes of this machine: start, stop, look, and run the main job.

Runs from the repository's root: ``python -m infra.local <up|down|status|reset|demo>``.
"""
