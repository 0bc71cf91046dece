"""The stack without Docker: PostgreSQL, S3, MLflow, Spark standalone and Airflow on this machine, supervised."""
