"""Puts the jars that Spark needs for an object store into a folder: ``python fetch_jars.py FOLDER``.

Ivy, which comes with Spark, resolves the coordinates of ``spark_apps.packages``; they stand nowhere else.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from spark_apps.packages import submit_conf


def fetch(target: Path) -> int:
    """The number of jars put into ``target``. Raises CalledProcessError when they could not be had."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "nothing.py"
        job.write_text("")
        command = ["spark-submit", "--master", "local[1]", "--conf", f"spark.jars.ivy={folder}/ivy"]
        for name, value in submit_conf("s3://any").items():
            command += ["--conf", f"{name}={value}"]
        subprocess.run([*command, str(job)], check=True)
        target.mkdir(parents=True, exist_ok=True)
        found = sorted((Path(folder) / "ivy" / "jars").glob("*.jar"))
        for jar in found:
            shutil.copy2(jar, target)
    return len(found)


if __name__ == "__main__":
    print(f"{fetch(Path(sys.argv[1]))} jars in {sys.argv[1]}")
