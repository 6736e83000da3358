"""A real Slurm on loopback for the tests: one controller and a few nodes, of an ordinary user, gone without a trace."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import psutil

T = TypeVar("T")
PROGRAMS = ("slurmctld", "slurmd", "scontrol", "sbatch", "srun")
PATH = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # Debian keeps daemons where users do not look
CONFIGURATION = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny

StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/controller.pid
SlurmctldLogFile={folder}/controller.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log

ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
PropagateResourceLimits=NONE
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
SlurmdParameters=config_overrides
MaxArraySize=1001
JobRequeue=1
ReturnToService=2

# As short as can be: a job put back waits for cred_expire + 1 s, a dead node is found after some SlurmdTimeout.
AuthInfo=cred_expire=5
SlurmdTimeout=3
TCPTimeout=1
KillWait=2
MessageTimeout=3
MailProg=/bin/true

GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL Default=YES MaxTime=60
PartitionName=gpu Nodes=ALL MaxTime=60
"""


class LocalSlurm:
    """A cluster `n1`, `n2`, ... of `cpus` processors and `gpus` pretended GPUs a node, all on this machine.

    Whatever the machine has, a node has `cpus`; 1 TB of memory is declared, and nothing of it is enforced. The
    partitions `cpu` (the default) and `gpu` hold all nodes for at most 60 minutes. What the daemons say is in
    `folder/*.log`. The daemons listen on 127.0.0.1 alone, as anyone who reaches them may run what they like.
    """

    def __init__(self, folder: Path, nodes: int = 4, cpus: int = 2, gpus: int = 2) -> None:
        self.folder = folder.resolve()
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self.configuration = self.folder / "slurm.conf"
        self.env = {**_without_slurm(os.environ), "PATH": PATH, "SLURM_CONF": str(self.configuration)}
        self.cpus, self.gpus = cpus, gpus
        self._controller: subprocess.Popen[bytes] | None = None
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @staticmethod
    def available() -> bool:
        """Whether Slurm's programs are on this machine."""
        return all(shutil.which(name, path=PATH) for name in PROGRAMS)

    def __enter__(self) -> Self:
        self._configure()
        with ExitStack() as stack:
            stack.callback(self.stop)
            self.start_controller()
            for node in self.nodes:
                self._start(node)
            for node in self.nodes:
                self._until_ready(node)
            stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill everything that runs in the cluster or waits for it."""
        self.kill_controller()
        for node in self.nodes:
            self.kill(node)
        _kill_all(self._told)

    def call(self, *command: str, timeout: float = 30) -> str:
        """What a command of Slurm prints; raises CalledProcessError with its complaint in `stderr`."""
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, check=True, timeout=timeout)
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit the body of a bash script with `sbatch`; the job's number."""
        command = ["sbatch", "--parsable", f"--chdir={self.folder}", *options]
        done = subprocess.run(command, env=self.env, input=f"#!/bin/bash\n{script}\n", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, job: str) -> dict[str, str]:
        """What `scontrol show job` says about a job, or about the one element `12_3` of an array."""
        words = self.call("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait(self, job: str, states: str | Collection[str], most: float = 30) -> str:
        """Wait at most `most` seconds for a job to be in one of the states, such as COMPLETED; the state it is in."""
        wanted = [states] if isinstance(states, str) else list(states)
        until(lambda: self.job(job)["JobState"] in wanted, most, f"job {job} is not {' or '.join(wanted)}")
        return self.job(job)["JobState"]

    def start_controller(self) -> None:
        """Start the controller, with the state of the one before it."""
        self._controller = self._daemon("slurmctld", "-D")
        until(lambda: "is UP" in self._ask("scontrol", "ping"), 20, "slurmctld does not answer")

    def stop_controller(self) -> None:
        """Stop the controller in good order; jobs go on, and commands find nobody to talk to."""
        if self._controller is not None:
            self._controller.terminate()
            self._controller.wait(30)

    def kill_controller(self) -> None:
        """Kill the controller, which forgets what it has not written: what happened in the last 5 seconds, say."""
        if self._controller is not None:
            self._controller.kill()
            self._controller.wait()

    def start(self, node: str) -> None:
        """Start a node that was killed, and wait until jobs may run on it."""
        self._start(node)
        self._until_ready(node)

    def kill(self, node: str) -> None:
        """Kill a node as a loss of power does: its daemon and every process of every job on it."""
        if (daemon := self._daemons.pop(node, None)) is not None:
            daemon.kill()
            daemon.wait()
        _kill_all(lambda: self._processes(node))

    def _configure(self) -> None:
        ports = _free_ports(1 + len(self.nodes))
        gpus = f" Gres=gpu:{self.gpus}" if self.gpus else ""
        what = f"NodeAddr=127.0.0.1 CPUs={self.cpus} RealMemory=1000000{gpus} State=UNKNOWN"
        lines = [f"NodeName={node} Port={port} {what}" for node, port in zip(self.nodes, ports[1:])]
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("state", *self.nodes):
            (self.folder / name).mkdir(exist_ok=True)
        for number in range(self.gpus):
            device = self.folder / f"gpu{number}"
            if not device.is_symlink():
                device.symlink_to("/dev/null")  # Slurm wants a device and takes its number from the name
        settings = {"port": ports[0], "user": os.getuid(), "folder": self.folder, "nodes": "\n".join(lines)}
        self.configuration.write_text(CONFIGURATION.format(**settings), "utf-8")
        gres = f"Name=gpu File={self.folder}/gpu[0-{self.gpus - 1}]\n" if self.gpus else ""
        (self.folder / "gres.conf").write_text(gres, "utf-8")

    def _start(self, node: str) -> None:
        self._daemons[node] = self._daemon("slurmd", "-D", "-N", node)

    def _daemon(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "daemons.out").open("ab") as out:
            return subprocess.Popen(
                command, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def _ask(self, *command: str) -> str:
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=30)
        return done.stdout

    def _until_ready(self, node: str) -> None:
        state = ("sinfo", "--noheader", "--nodes", node, "--format", "%T")
        at_work = {"idle", "mixed", "allocated"}
        until(
            lambda: at_work & set(self._ask(*state).split()), 30, f"{node} is not ready, see {self.folder}/{node}.log"
        )

    def _processes(self, node: str) -> list[psutil.Process]:
        """The daemons of steps, which hold the node's log open, with their children, and what says it runs here."""
        log = str(self.folder / f"{node}.log")
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.name() == "slurmstepd" and log in [file.path for file in process.open_files()]:
                    found += [process, *process.children(recursive=True)]
        return found + self._told(SLURMD_NODENAME=node)

    def _told(self, **variables: str) -> list[psutil.Process]:
        """What was started with this cluster in its environment, and with these variables."""
        wanted = {"SLURM_CONF": str(self.configuration), **variables}.items()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if wanted <= process.environ().items():
                    found.append(process)
        return found


def _without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment as outside of any job, should the tests themselves run in one."""
    return {name: value for name, value in environment.items() if not name.startswith(("SLURM", "SBATCH", "SRUN"))}


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [held.getsockname()[1] for held in sockets]


def _kill_all(find: Callable[[], Iterable[psutil.Process]]) -> None:
    """Kill until nothing is found: a process may have started another one meanwhile."""
    while found := list(find()):
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(0.01)


def until(holds: Callable[[], T], most: float, complaint: str) -> T:
    """Ask until the answer is true, which is handed back; fail with the complaint after `most` seconds."""
    end = time.monotonic() + most
    while not (answer := holds()):
        if time.monotonic() > end:
            raise TimeoutError(f"{complaint} after {most:g} s")
        time.sleep(0.05)
    return answer
