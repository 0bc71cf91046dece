"""Every setting, in one frozen class. Each comes from an environment variable DARKROOM_<NAME>."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where things are, how they are reached, and the limits that guard against bad input."""

    model_config = SettingsConfigDict(env_prefix="DARKROOM_", frozen=True, extra="ignore")

    home: Path = Field(Path(".darkroom"), description="The one folder for all that a run makes on this machine.")
    lake: str = Field(
        "", description="Root of the lake: a folder, s3://bucket/prefix or hdfs://host:port/path. Default: <home>/lake."
    )
    mlflow_tracking_uri: str = Field("http://127.0.0.1:5500", description="The MLflow tracking server.")
    airflow_url: str = Field("http://127.0.0.1:8080", description="Where a browser finds Airflow; used in links.")
    samples: Path = Field(Path("../shared/data"), description="Real image sets that tests and benchmarks may use.")

    s3_endpoint: str = Field("", description="URL of the object store, for example http://127.0.0.1:9000.")
    s3_region: str = Field("us-east-1", description="Region name that requests are signed for.")
    s3_access_key: SecretStr = Field(SecretStr(""), description="Access key of the object store.")
    s3_secret_key: SecretStr = Field(SecretStr(""), description="Secret key of the object store.")

    s3_ca_file: str = Field("", description="PEM file of the private CA that signed the object store's certificate.")

    hdfs_http: str = Field("", description="HTTP address of HDFS's NameNode. Empty: http://<host of the lake>:9870.")

    max_image_bytes: int = Field(256 * 2**20, gt=0, description="Larger image files are rows with a problem. Bytes.")
    max_image_pixels: int = Field(200_000_000, gt=0, description="Images that declare more are not decoded. Pixels.")
    max_archive_bytes: int = Field(200 * 2**30, gt=0, description="An archive that unpacks to more is refused. Bytes.")
    max_weights_bytes: int = Field(2 * 2**30, gt=0, description="Larger files of network weights are refused. Bytes.")
    max_archive_files: int = Field(5_000_000, gt=0, description="An archive with more members is refused. Files.")

    train_schedule: str = Field("", description="Cron of scheduled retraining, UTC. Empty: only on data and request.")
    train_dataset: str = Field("phantom", description="The dataset that scheduled retraining reads.")
    train_configs: tuple[str, ...] = Field(
        ("blend", "small_cnn", "hog_svm"),
        min_length=1,
        description="Configs that train_model trains where neither its form nor the dataset's event names any. JSON.",
    )
    train_cooldown_hours: float = Field(
        24, ge=0, description="The schedule and drift train no sooner after the last training. Hours."
    )
    train_parallel: int = Field(2, ge=1, description="Configs that one training fits at the same time outside Spark.")
    train_per_week: int = Field(7, ge=0, description="Trainings a week of one model that start by themselves.")
    gate_policy: str = Field("", description="YAML file with the gate's limits. Empty: training/gate.yaml.")
    allowed_models: str = Field(
        "", description="YAML file of the models with code of their own that may run here. Empty: none may."
    )
    pyfunc_seconds: float = Field(
        120, gt=0, description="How long such a model may take to start, and for a batch of images. Seconds."
    )
    environments: Path | None = Field(None, description="Where they are installed. Default: <home>/environments.")
    feedback_per_author: int = Field(
        1000, ge=1, description="Feedback of one author in one file is refused when it has more rows."
    )
    feedback_auto_accept: bool = Field(False, description="Whether feedback that passes the checks needs no person.")
    inbox_wait_seconds: int = Field(0, ge=0, description="How long a scheduled date waits for its inbox. Seconds.")
    inbox_settle_seconds: int = Field(60, ge=0, description="An inbox unchanged for this long is complete. Seconds.")
    reconcile_days: int = Field(7, ge=1, le=366, description="How many past dates reconcile looks at. Days.")
    retention_days: int = Field(90, ge=1, description="What nothing current names goes at this age. Days.")
    vacuum_schedule: str = Field("", description="Cron of the DAG vacuum, UTC. Empty: only by hand.")
    self_signup: bool = Field(False, description="Whether people may make viewer logins at /signup; FAB logins only.")
    alert_connection: str = Field("", description="Airflow connection that alerts are sent to. Empty: the log.")
    date_hours: float = Field(12, gt=0, description="A date that is not classified so long after its start is told of.")
    spark_connection: str = Field("spark_default", description="Airflow connection that Spark jobs are submitted to.")

    @field_validator("home", "samples", "environments")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @property
    def lake_uri(self) -> str:
        """The lake's root: an absolute folder path, or a URI with a scheme."""
        if not self.lake:
            return str(self.home / "lake")
        if "://" in self.lake:
            return self.lake.rstrip("/")
        return str(Path(self.lake).expanduser().absolute())


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process, read once. ``get_settings.cache_clear()`` reads them anew."""
    return Settings()  # type: ignore[call-arg]
