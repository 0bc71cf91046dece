"""What two processes share out: whole files, and as one the files that start the same heavy thing.

A file's fixtures are then made once, and TensorFlow, Spark and HDFS are started in one of the two. xdist's own groups
are marks that it writes into node ids, which pytest 9.2 does not let it do: every test is a group of its own there.
"""

from __future__ import annotations

from xdist.scheduler.loadscope import LoadScopeScheduling

TENSORFLOW = (
    "unit/test_training_doors.py",
    "unit/test_training_flow.py",
    "unit/test_training_keras.py",
    "unit/test_training_pretrained.py",
    "unit/test_training_team.py",
    "unit/test_training_transfer.py",
    "unit/test_training_transfer_head.py",
    "unit/test_training_weights.py",
)
SPARK = (
    "unit/test_inbox_arrivals.py",
    "unit/test_sources_in_place.py",
    "unit/test_spark_dates.py",
    "unit/test_spark_features.py",
    "unit/test_spark_manifest.py",
    "unit/test_spark_predict.py",
    "unit/test_spark_preprocess.py",
    "unit/test_spark_validation.py",
    "unit/test_training_mllib.py",
    "unit/test_training_placement.py",
    "unit/test_training_progress.py",
)
HDFS_AND_SPARK = (
    "integration/test_docs_servers.py",
    "integration/test_inbox_s3.py",
    "integration/test_lake_copy.py",
    "integration/test_requests_counted.py",
    "integration/test_sources_in_place.py",
    "integration/test_storage_hdfs.py",
    "integration/test_tables_hdfs.py",
    "integration/test_vacuum_servers.py",
)
SIMULATION = ("integration/test_simulation.py",)
GROUPS = {name: group[0] for group in (TENSORFLOW, SPARK, HDFS_AND_SPARK, SIMULATION) for name in group}
"""The group of a file by its end. Groups are long: they come first, so that both processes end at the same time."""


def end_of(path: str) -> str:
    """A file's folder and name."""
    return "/".join(path.split("/")[-2:])


class GroupScheduling(LoadScopeScheduling):
    """Hands out groups and files in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return GROUPS.get(end_of(file), file)
