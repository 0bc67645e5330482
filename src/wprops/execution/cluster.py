"""Dask clusters: processes of this machine, or jobs of HTCondor or SLURM.

The batch systems need the extra ``jobqueue``. What is not in the record, such as the
network interface or the options of the scheduler, is read by dask-jobqueue from the
configuration of dask.
"""

from __future__ import annotations

import importlib
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

from distributed import LocalCluster, WorkerPlugin
from distributed.deploy import Cluster as DaskCluster
from pydantic import Field, model_validator

from wprops.errors import ConfigError
from wprops.records import Record

#: Fields with a meaning on some kinds alone, and what takes their place elsewhere.
_ONLY_ON = {
    "disk": ("htcondor", "set it in `job_lines`"),
    "walltime": ("slurm", "set it in `job_lines`"),
    "log_folder": ("htcondor, slurm", "logs come to the terminal"),
    "job_lines": ("htcondor, slurm", "there are no jobs"),
    "setup": ("htcondor, slurm", "the environment is that of the command"),
}
#: Class of dask-jobqueue and command that submits, by batch system.
_SYSTEMS = {
    "htcondor": ("HTCondorCluster", "condor_submit"),
    "slurm": ("SLURMCluster", "sbatch"),
}


class Cluster(Record):
    """A dask cluster to start for a run."""

    kind: Literal["local", "htcondor", "slurm"] = Field(
        description="processes of this machine, or the batch system to ask for jobs"
    )
    workers: int | None = Field(
        default=None, gt=0, description="number of jobs, or of local processes"
    )
    minimum: int | None = Field(
        default=None, ge=0, description="smallest number of jobs, with `maximum`"
    )
    maximum: int | None = Field(
        default=None, gt=0, description="largest number of jobs, by what is left to do"
    )
    cores: int = Field(default=1, gt=0, description="cores, and processes, of a job")
    memory: str = Field(default="2 GB", description="memory of a job, such as 4 GB")
    disk: str | None = Field(default=None, description="disk of a job; HTCondor only")
    walltime: str | None = Field(
        default=None, description="longest time of a job, as 02:00:00; SLURM only"
    )
    log_folder: Path | None = Field(
        default=None, description="folder for what jobs print"
    )
    job_lines: tuple[str, ...] = Field(
        default=(),
        description="list of lines for the job description: `--partition=short` for "
        'SLURM, `+JobFlavour = "longlunch"` for HTCondor',
    )
    setup: tuple[str, ...] = Field(
        default=(), description="list of shell commands before the worker starts"
    )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a YAML file; raises ConfigError naming what is wrong in it."""
        return cls.from_yaml(path, {})

    @property
    def n_workers(self) -> int:
        """Number of processes of all jobs, at most."""
        jobs = self.workers or self.maximum or 0
        return jobs if self.kind == "local" else jobs * self.cores

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        adaptive = self.minimum is not None and self.maximum is not None
        if (self.workers is None) == (self.minimum is None and self.maximum is None):
            msg = "found neither or both; give `workers`, or `minimum` and `maximum`"
            raise ConfigError(msg)
        if self.workers is None and not adaptive:
            msg = "found one of `minimum` and `maximum`; give both, or `workers`"
            raise ConfigError(msg)
        if adaptive and (self.minimum or 0) > (self.maximum or 0):
            msg = f"minimum: found {self.minimum}, more than maximum {self.maximum}"
            raise ConfigError(msg)
        for name, (kinds, remedy) in _ONLY_ON.items():
            if getattr(self, name) and self.kind not in kinds:
                msg = f"{name}: {self.kind} has no such setting; remove it: {remedy}"
                raise ConfigError(msg)
        unused = sorted({"cores", "memory"} & self.model_fields_set)
        if self.kind == "local" and unused:
            msg = (
                f"{unused[0]}: a local process has one core and the memory of the "
                "machine; remove it, and choose fewer `workers` if memory is short"
            )
            raise ConfigError(msg)
        if self.kind == "htcondor":
            if self.disk is None:
                msg = "disk: found nothing; HTCondor needs the disk of a job: add it"
                raise ConfigError(msg)
            wrong = [line for line in self.job_lines if "=" not in line]
            if wrong:
                msg = f"job_lines: found {wrong[0]!r}; HTCondor wants `key = value`"
                raise ConfigError(msg)
        return self


class _IgnoreInterrupts(WorkerPlugin):
    """The keyboard interrupts all processes of a terminal; the parent answers."""

    def setup(self, worker: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def open_cluster(cluster: Cluster) -> Iterator[DaskCluster]:
    """Start a cluster; its jobs end with the block.

    Raises
    ------
    ConfigError
        If dask-jobqueue is not installed, or the batch system has no command here.
    """
    with _start(cluster) as started:
        if cluster.kind != "local":
            if cluster.workers is None:
                started.adapt(
                    minimum_jobs=cluster.minimum, maximum_jobs=cluster.maximum
                )
            else:
                started.scale(jobs=cluster.workers)
        elif cluster.workers is None:
            started.adapt(minimum=cluster.minimum, maximum=cluster.maximum)
        yield started


def _start(cluster: Cluster) -> DaskCluster:
    if cluster.kind == "local":
        return LocalCluster(
            n_workers=cluster.workers or cluster.minimum,
            threads_per_worker=1,
            processes=True,
            dashboard_address="127.0.0.1:0",  # any free port
            plugins=(_IgnoreInterrupts(),),
        )
    try:
        jobqueue = importlib.import_module("dask_jobqueue")
    except ImportError as error:
        msg = (
            f"kind: {cluster.kind} needs dask-jobqueue; install it with "
            "`pip install 'wprops[jobqueue]'`"
        )
        raise ConfigError(msg) from error
    name, command = _SYSTEMS[cluster.kind]
    if shutil.which(command) is None:
        msg = (
            f"kind: {cluster.kind} needs the command {command}, which is not in PATH; "
            "start the run where jobs can be submitted"
        )
        raise ConfigError(msg)
    options: dict[str, Any] = {
        "cores": cluster.cores,
        # One thread each: events are processed in Python.
        "processes": cluster.cores,
        "memory": cluster.memory,
        "python": sys.executable,
        "disk": cluster.disk,
        "walltime": cluster.walltime,
        "job_script_prologue": list(cluster.setup),
        "job_extra_directives": list(cluster.job_lines),
    }
    if cluster.log_folder is not None:
        cluster.log_folder.mkdir(parents=True, exist_ok=True)
        options["log_directory"] = str(cluster.log_folder.absolute())
    if cluster.kind == "htcondor":
        pairs = (line.partition("=") for line in cluster.job_lines)
        options["job_extra_directives"] = {
            key.strip(): value.strip() for key, _, value in pairs
        }
    # What is not given comes from the configuration of dask.
    given = {key: value for key, value in options.items() if value}
    return getattr(jobqueue, name)(**given)
