"""A real HDFS for tests: a NameNode and a DataNode from one jar beside those that pyspark has."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import pyspark
import pytest
import urllib3

from infra.binaries import cache_folder
from tests.integration.servers import free_port, left_out, running, wait_for

HADOOP = "3.5.0"
_MINICLUSTER = "hadoop-client-minicluster"
_JARS = f"{Path(pyspark.__file__).parent}/jars/*"
_SERVER = "org.apache.hadoop.hdfs.server"
_FETCH_SECONDS = 600
_START_SECONDS = 90


@dataclass(frozen=True)
class Hdfs:
    """The two addresses of a running HDFS: ``root`` (hdfs://host:port) and ``http`` (http://host:port)."""

    root: str
    http: str


def minicluster_jar() -> Path:
    """The jar with the servers' classes, from the cache folder or fetched into it now by the Ivy that pyspark has."""
    target = cache_folder() / "jars" / f"{_MINICLUSTER}-{HADOOP}.jar"
    if target.exists():
        return target
    if shutil.which("java") is None:
        left_out("Tests on HDFS", "there is no Java to run it with. Install Java 17.")
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _fetch(target)
    return target


def _fetch(target: Path) -> None:
    folder = target.parent / f".fetching-{os.getpid()}"
    settings = folder / "ivy.xml"
    folder.mkdir()
    settings.write_text(
        '<ivy-module version="2.0"><info organisation="darkroom" module="tests"/><dependencies>'
        f'<dependency org="org.apache.hadoop" name="{_MINICLUSTER}" rev="{HADOOP}" transitive="false"/>'
        "</dependencies></ivy-module>"
    )
    command = ["java", "-cp", _JARS, "org.apache.ivy.Main", "-cache", str(folder / "cache"), "-ivy", str(settings)]
    command += ["-retrieve", str(folder / "[artifact].[ext]")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_FETCH_SECONDS, check=False)
        fetched = folder / f"{_MINICLUSTER}.jar"
        if done.returncode or not fetched.exists():
            last = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
            left_out("Tests on HDFS", f"{_MINICLUSTER} {HADOOP} could not be fetched: {last}.")
        os.replace(fetched, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def hdfs(folder: Path) -> Iterator[Hdfs]:
    """A running HDFS over files below ``folder``."""
    jar = minicluster_jar()
    found = Hdfs(f"hdfs://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}")
    _configure(folder, found)
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{folder}/conf:{jar}:{_JARS}"]
    name_node = [*java, f"{_SERVER}.namenode.NameNode"]
    with (folder / "log").open("wb") as log:
        command = [*name_node, "-format", "-force", "-nonInteractive"]
        subprocess.run(command, stdout=log, stderr=log, timeout=_START_SECONDS, check=True)
        with running(name_node, {}, log) as names:
            wait_for(f"{found.http}/jmx", names, folder / "log")
            with running([*java, f"{_SERVER}.datanode.DataNode"], {}, log):
                _wait_for_data_node(found.http, folder / "log")
                yield found


def _configure(folder: Path, found: Hdfs) -> None:
    values = {
        "fs.defaultFS": found.root,
        "dfs.namenode.rpc-address": found.root.removeprefix("hdfs://"),
        "dfs.namenode.http-address": found.http.removeprefix("http://"),
        "dfs.namenode.name.dir": str(folder.absolute() / "names"),
        "dfs.datanode.data.dir": str(folder.absolute() / "data"),
        "dfs.datanode.address": "127.0.0.1:0",
        "dfs.datanode.http.address": "127.0.0.1:0",
        "dfs.datanode.ipc.address": "127.0.0.1:0",
        "dfs.datanode.hostname": "127.0.0.1",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        "dfs.replication": "1",
        "dfs.client.block.write.locateFollowingBlock.initial.delay.ms": "10",  # see docs/hdfs.md
    }
    (folder / "conf").mkdir(parents=True)
    lines = [
        f"<property><name>{name}</name><value>{escape(value)}</value></property>" for name, value in values.items()
    ]
    for name in ("core-site.xml", "hdfs-site.xml"):
        (folder / "conf" / name).write_text(f"<configuration>{''.join(lines)}</configuration>")


def _wait_for_data_node(address: str, log: Path) -> None:
    """A DataNode counts once the NameNode shows it."""
    query = f"{address}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem"
    deadline = time.monotonic() + _START_SECONDS
    with urllib3.PoolManager(retries=False, timeout=5) as http:
        while time.monotonic() < deadline:
            beans = json.loads(http.request("GET", query).data)["beans"]
            if beans and beans[0]["NumLiveDataNodes"]:
                return
            time.sleep(0.1)
    pytest.fail(f"HDFS has no DataNode. It said: {log.read_text(errors='replace')[-500:]}", pytrace=False)
