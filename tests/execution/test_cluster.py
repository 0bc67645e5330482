"""Clusters by configuration; the commands of a batch system start its jobs here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.execution.small import CHUNKSIZE, assert_same_bits, n_chunks, produce
from wprops.errors import ConfigError
from wprops.execution.cluster import Cluster, open_cluster

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide" / "running.md"

#: Keeps the script, as a batch system does, and runs it in a session of its own.
SBATCH = """#!{python}
import pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
script = pathlib.Path(sys.argv[-1]).read_text()
number = len(list(here.glob("job_*.sh"))) + 1
kept = here / f"job_{{number}}.sh"
kept.write_text(script)
with open(here / f"job_{{number}}.log", "w") as log:
    process = subprocess.Popen(
        ["/bin/sh", kept], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )
(here / f"pid_{{process.pid}}").touch()
print("Submitted batch job", process.pid)
"""
SCANCEL = """#!{python}
import os, signal, sys
try:
    os.killpg(int(sys.argv[1]), signal.SIGTERM)
except ProcessLookupError:
    pass
"""
#: The same for the language of HTCondor.
CONDOR_SUBMIT = """#!{python}
import pathlib, re, subprocess, sys
here = pathlib.Path(__file__).parent
text = pathlib.Path(sys.argv[-1]).read_text()
(here / "job_1.sub").write_text(text)
arguments = re.search('Arguments = "(.*)"', text)[1]
command = arguments.removeprefix("-c ")[1:-1].replace("''", "'").replace('""', '"')
with open(here / "job_1.log", "w") as log:
    process = subprocess.Popen(
        ["/bin/sh", "-c", command], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        cwd="/", start_new_session=True,
    )
(here / f"pid_{{process.pid}}").touch()
print("1 job(s) submitted to cluster %d." % process.pid)
"""
CONDOR_RM = SCANCEL.replace("sys.argv[1]", "float(sys.argv[1])")


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Commands of both batch systems; jobs that are left fail the test."""
    folder = tmp_path / "batch"
    folder.mkdir()
    commands = {
        "sbatch": SBATCH,
        "scancel": SCANCEL,
        "condor_submit": CONDOR_SUBMIT,
        "condor_rm": CONDOR_RM,
    }
    for name, text in commands.items():
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    yield folder
    for path in folder.glob("pid_*"):
        pid = int(path.name.removeprefix("pid_"))
        subprocess.run([folder / "scancel", str(pid)], check=True)


def read(tmp_path, **content):
    path = tmp_path / "cluster.yaml"
    path.write_text(yaml.safe_dump(content))
    return Cluster.read(path)


@pytest.mark.dask
@pytest.mark.parametrize(
    ("kind", "options", "lines"),
    [
        (
            "slurm",
            {"walltime": "00:10:00", "job_lines": ["--partition=short"]},
            ["#SBATCH --partition=short", "#SBATCH -t 00:10:00", "export WHERE=here"],
        ),
        (
            "htcondor",
            {"disk": "1 GB", "job_lines": ["+JobFlavour = x"]},
            ["+JobFlavour = x", "MY.DaskWorkerDisk = 1000000000", "export WHERE=here"],
        ),
    ],
)
def test_jobs_of_a_batch_system_give_the_same_bits(
    small, mine, tmp_path, batch, kind, options, lines
):
    """The processor is of a file that workers do not see: it travels by value."""
    cluster = read(
        tmp_path,
        kind=kind,
        workers=1,
        memory="1 GB",
        log_folder=str(tmp_path / "logs"),
        setup=["export WHERE=here"],
        **options,
    )
    ledger = tmp_path / "shared"
    there, _ = produce(small, mine, ledger, executor="dask", cluster=cluster)
    (job,) = batch.glob("job_*.s*[hb]")
    for line in lines:
        assert line in job.read_text()
    here, kept = produce(small, mine, ledger)
    assert kept == n_chunks(here)  # which the job wrote
    fresh, _ = produce(small, mine)
    assert_same_bits(dict(there.outputs), dict(fresh.outputs))
    assert there.performance["workers"] == 1
    assert (tmp_path / "logs").is_dir()


@pytest.mark.dask
def test_local_processes_may_be_configured_too(small, mine, tmp_path):
    cluster = read(tmp_path, kind="local", minimum=1, maximum=2)
    there, _ = produce(small.only(["top"]), mine, executor="dask", cluster=cluster)
    here, _ = produce(small.only(["top"]), mine)
    assert_same_bits(dict(there.outputs), dict(here.outputs))


def test_the_files_of_the_guide_are_valid(tmp_path):
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    kinds = []
    for block in blocks:
        (tmp_path / "cluster.yaml").write_text(block)
        kinds.append(Cluster.read(tmp_path / "cluster.yaml").kind)
    assert kinds == ["slurm", "htcondor"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "slurm"}, "found neither or both; give `workers`, or `minimum` and"),
        ({"kind": "slurm", "workers": 1, "maximum": 2}, "found neither or both"),
        ({"kind": "slurm", "maximum": 2}, "found one of `minimum` and `maximum`"),
        ({"kind": "slurm", "minimum": 3, "maximum": 2}, "minimum: found 3, more than"),
        ({"kind": "pbs", "workers": 1}, "kind: found 'pbs', expected 'local', 'htcon"),
        ({"kind": "slurm", "workers": 1, "nodes": 1}, "nodes: unknown key, known are"),
        (
            {"kind": "slurm", "workers": 1, "disk": "1 GB"},
            "disk: slurm has no such setting; remove it: set it in `job_lines`",
        ),
        (
            {"kind": "htcondor", "workers": 1, "disk": "1 GB", "walltime": "1:00:00"},
            "walltime: htcondor has no such setting",
        ),
        ({"kind": "local", "workers": 1, "setup": ["x"]}, "setup: local has no such"),
        ({"kind": "htcondor", "workers": 1}, "disk: found nothing; HTCondor needs"),
        (
            {"kind": "htcondor", "workers": 1, "disk": "1 GB", "job_lines": ["x"]},
            "job_lines: found 'x'; HTCondor wants `key = value`",
        ),
    ],
)
def test_a_wrong_configuration_is_explained(tmp_path, content, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(tmp_path, **content)


def test_a_machine_without_the_batch_system_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    cluster = Cluster(kind="slurm", workers=1)
    with (
        pytest.raises(ConfigError, match="needs the command sbatch, which is not in"),
        open_cluster(cluster),
    ):
        pass


def test_without_dask_jobqueue_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask_jobqueue", None)
    with (
        pytest.raises(ConfigError, match=r"install it with `pip install 'wprops\[jobq"),
        open_cluster(Cluster(kind="slurm", workers=1)),
    ):
        pass


def test_a_cluster_is_not_ignored(small, mine):
    cluster = Cluster(kind="local", workers=1)
    with pytest.raises(ConfigError, match="a cluster was given, but the executor is"):
        produce(small, mine, executor="futures", cluster=cluster)
    with pytest.raises(ConfigError, match="a scheduler and a cluster were given"):
        produce(
            small,
            mine,
            executor="dask",
            cluster=cluster,
            address="tcp://127.0.0.1:1",
            chunksize=CHUNKSIZE,
        )


@pytest.mark.parametrize("setting", [{"memory": "8 GB"}, {"cores": 4}])
def test_local_processes_refuse_what_only_jobs_have(tmp_path, setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=f"{name}: a local process has one core"):
        read(tmp_path, kind="local", workers=2, **setting)
