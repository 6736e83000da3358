"""Transfers: real rsync over a real sshd on loopback, killed, spoilt, full, and with names that strangers chose."""

import fcntl
import getpass
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openeurollm.engine.transfer import PREDICATE, carrier, place, transfer, transfers
from openeurollm.errors import BadInput, Failure

SSHD = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
HOSTILE = ("-rf", "--delete", "a b", "q\"uo'te", ";touch pwned", "$(touch pwned)", "`id`", "new\nline", "tab\t", "#x")
HOSTILE += (";x", "back\\slash", "*", "ħelow", "{a,b}", "~", "host:colon", "sub dir/-x\n$(touch pwned)/é;'")

pytestmark = pytest.mark.skipif(shutil.which("rsync") is None, reason="rsync is not installed")
needs_sshd = pytest.mark.skipif(SSHD is None or shutil.which("ssh") is None, reason="sshd is not installed")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    """A host named `site`: sshd as an ordinary process on a port of loopback, with keys made for it."""
    home = tmp_path_factory.mktemp("sshd")
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / key], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    settings = f"""
        Port {port}
        ListenAddress 127.0.0.1
        HostKey {home}/host
        AuthorizedKeysFile {home}/user.pub
        PidFile none
        StrictModes no
        UsePAM no
        PasswordAuthentication no
        PermitRootLogin yes
    """
    (home / "sshd_config").write_text(settings)
    (home / "known_hosts").write_text(f"site {(home / 'host.pub').read_text()}")
    client = f"""
        Host gone
            Port 1
        Host site gone
            HostName 127.0.0.1
            Port {port}
            HostKeyAlias site
            User {getpass.getuser()}
            IdentityFile {home}/user
            IdentitiesOnly yes
            UserKnownHostsFile {home}/known_hosts
            StrictHostKeyChecking yes
            BatchMode yes
    """
    (home / "ssh_config").write_text(client)
    server = subprocess.Popen([SSHD, "-D", "-e", "-f", home / "sshd_config"], stderr=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    before = os.environ.get("RSYNC_RSH")
    os.environ["RSYNC_RSH"] = f"ssh -F {home}/ssh_config"
    yield "site"
    os.environ.pop("RSYNC_RSH")
    if before is not None:
        os.environ["RSYNC_RSH"] = before
    server.terminate()
    server.wait()


def moved(source, destination, **options):
    tool, bandwidth = options.pop("tool", "rsync"), options.pop("bandwidth", "")
    with carrier(tool, bandwidth) as carried:
        return transfer(str(source), str(destination), carried, **options)


@pytest.fixture
def run(tmp_path):
    """A folder like a run's, with what stays at home: a lock, scratch space, unfinished files, links, a pipe."""
    folder = tmp_path / "from" / "mine"
    sure = random.Random(1)
    for name in ("recipe.toml", "corpus/mt/part-00000.parquet", "corpus/record.json", "model/empty", ".hidden/kept"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"" if name == "model/empty" else sure.randbytes(70_000))
    for name in (".lock", ".work/model/key", "corpus/.part-1.parquet.77.part"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("stays")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "corpus" / "folder").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    return folder


def files(folder, transfers_too=False):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock" and (transfers_too or path.parent.name != "transfers")
    }


def carried(folder):
    home = {".work/model/key", "corpus/.part-1.parquet.77.part", "link", "corpus/folder"}
    return {name: sha for name, sha in files(folder).items() if name not in home}


WAYS = [
    ("here", "here"),
    pytest.param(("here", "site"), marks=needs_sshd),
    pytest.param(("site", "here"), marks=needs_sshd),
]


@pytest.fixture(params=WAYS, ids=["local", "to-host", "from-host"])
def way(request, tmp_path):
    """Names of the folders `from/mine` and `to/mine`, either of them on the host."""
    if "site" in request.param:
        request.getfixturevalue("host")
    sides = (tmp_path / "from" / "mine", tmp_path / "to" / "mine")
    return [str(side) if where == "here" else f"site:{side}" for where, side in zip(request.param, sides)]


def test_what_arrives_is_what_was_there_and_is_written_down(run, way, tmp_path):
    there = tmp_path / "to" / "mine"
    done = moved(*way)
    assert files(there) == carried(run)
    statement = json.loads((there / done["statement"]).read_text("utf-8"))
    assert statement["predicateType"] == PREDICATE
    assert {each["name"]: each["digest"]["sha256"] for each in statement["subject"]} == carried(run)
    told = statement["predicate"]
    assert told["left_out"] == {"links": ["corpus/folder", "link"], "special": ["pipe"]}
    assert told["sent"] == {"files": 5, "bytes": 280_000, "replaced": 0}
    assert [each["statement"] for each in transfers(there)] == [done["statement"]]
    assert (told["source"].endswith(way[0]), told["destination"].endswith(way[1])) == (True, True)


def test_again_nothing_is_sent_and_what_differs_is(run, way, tmp_path):
    there = tmp_path / "to" / "mine"
    moved(*way)
    again = moved(*way)
    assert (again["sent"]["files"], again["statement"]) == (0, None)
    shutil.rmtree(there / "transfers")  # as a kill between the last file and the statement leaves it
    assert moved(*way)["sent"]["files"] == 0
    assert len(transfers(there)) == 1
    spoilt = there / "corpus/mt/part-00000.parquet"
    before = spoilt.stat()
    with open(spoilt, "r+b") as file:  # one byte, with size and time as they were
        file.seek(40_000)
        old = file.read(1)
        file.seek(40_000)
        file.write(bytes([old[0] ^ 1]))
    os.utime(spoilt, ns=(before.st_atime_ns, before.st_mtime_ns))
    mended = moved(*way)
    assert mended["sent"] == {"files": 1, "bytes": 70_000, "replaced": 1}
    assert files(there) == carried(run)
    assert transfers(there)[-1]["sent"]["files"] == 1


def test_names_of_strangers_harm_nobody(run, way, tmp_path):
    for name in HOSTILE:
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(name)
    moved(*way)
    assert files(tmp_path / "to" / "mine") == carried(run)
    assert len(carried(run)) == 5 + len(HOSTILE)
    assert not list(tmp_path.rglob("pwned"))
    assert not Path("pwned").exists()
    assert not Path("~/pwned").expanduser().exists()


def test_folders_of_strange_names(run, way, tmp_path):
    name = "-e a'b $(touch pwned);\n"
    run.rename(run.with_name(name))
    moved(way[0].removesuffix("mine") + name, way[1].removesuffix("mine") + name)
    assert files(tmp_path / "to" / name) == carried(run.with_name(name))
    assert not list(tmp_path.rglob("pwned"))


def test_a_slash_at_the_end_means_into(run, way, tmp_path):
    moved(way[0], way[1].removesuffix("mine"))
    assert files(tmp_path / "to" / "mine") == carried(run)


def test_scratch_space_comes_when_asked_for(run, way, tmp_path):
    moved(*way, with_work=True)
    assert files(tmp_path / "to" / "mine").keys() - carried(run).keys() == {".work/model/key"}


def test_a_run_at_work_is_left_alone(run, way):
    with open(run / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Failure, match=r"^[^\n]*/from/mine: a run is at work in this folder[^\n]*$"):
            moved(*way)
    assert moved(*way)["files"] == 5


def test_a_run_at_work_at_the_destination_is_left_alone(run, way, tmp_path):
    (tmp_path / "to" / "mine").mkdir(parents=True)
    with open(tmp_path / "to" / "mine" / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Failure, match=r"^[^\n]*/to/mine: [^\n]*at work in this folder[^\n]*$"):
            moved(*way)
    assert files(tmp_path / "to") == {}


def test_killed_in_the_middle_it_goes_on(run, way, tmp_path):
    big = run / "corpus" / "big.parquet"
    big.write_bytes(random.Random(2).randbytes(20_000_000))
    there = tmp_path / "to" / "mine"
    command = [sys.executable, "-c", "from openeurollm.cli import main; main()", "transfer", *way, "--bandwidth", "2M"]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    staged = there / ".transfer" / "corpus" / "big.parquet"
    while not staged.is_file() or staged.stat().st_size < 1_000_000:
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (there / "corpus" / "big.parquet").exists(), "nothing half-written has its name"
    assert not (there / "corpus" / "record.json").exists()
    assert staged.stat().st_size >= 1_000_000
    moved(*way)
    assert files(there) == carried(run)
    assert not (there / ".transfer").exists()


def test_a_byte_spoilt_on_the_way_is_sent_again(run, way, tmp_path):
    """What a killed attempt left has the right size and time, and one wrong byte: only the digest tells."""
    there = tmp_path / "to" / "mine"
    source, staged = run / "recipe.toml", there / ".transfer" / "recipe.toml"
    staged.parent.mkdir(parents=True)
    shutil.copy2(source, staged)
    staged.write_bytes(b"?" + source.read_bytes()[1:])
    os.utime(staged, ns=(source.stat().st_atime_ns, source.stat().st_mtime_ns))
    moved(*way)
    assert files(there) == carried(run)


def test_links_of_the_destination_are_not_written_through(run, way, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "to" / "mine").mkdir(parents=True)
    (tmp_path / "to" / "mine" / "corpus").symlink_to(outside)
    with pytest.raises(BadInput, match=r"^[^\n]*/to/mine: 'corpus' is a link there; [^\n]*$"):
        moved(*way)
    assert not list(outside.iterdir())


@pytest.mark.parametrize("absent", ["nowhere", "mine/recipe.toml"])
def test_a_source_that_is_no_folder(run, way, absent):
    with pytest.raises(BadInput, match=r"^[^\n]*(no such folder|name its folder)[^\n]*$"):
        moved(way[0].removesuffix("mine") + absent, way[1])


@needs_sshd
def test_a_host_that_does_not_answer_is_one_line(run, host, tmp_path):
    with pytest.raises(Failure, match=r"^gone:/x: the host cannot be reached: [^\n]*run the same again to go on$"):
        moved(run, "gone:/x")


@needs_sshd
def test_a_transfer_that_may_not_write_is_one_line(run, host):
    with pytest.raises(Failure, match=r"^site:/proc/mine: [^\n]*$"):
        moved(run, "site:/proc/mine")


def test_sides_that_cannot_be(run, tmp_path):
    with carrier() as carried:
        for text in ("-oProxyCommand=id:x", "a b:x", "host::module", "host:", "host:/", "$(id):x"):
            with pytest.raises(BadInput):
                place(text, carried)
    for source, goal in ((run, run), (run, run / "in"), (run, run.parent), ("a:x", "b:x")):
        with pytest.raises(BadInput):
            moved(source, goal)
    for options in ({"bandwidth": "-1"}, {"bandwidth": "10"}, {"tool": "scp"}):
        with pytest.raises(BadInput):
            moved(run, tmp_path / "x", **options)


def test_a_missing_program_is_one_line(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"^rsync is not installed here; a transfer needs it$"):
        moved(run, tmp_path / "x")


def test_a_strange_statement_is_named(tmp_path):
    (tmp_path / "transfers").mkdir()
    (tmp_path / "transfers" / "x.json").write_text("[]")
    with pytest.raises(BadInput, match="not a statement of a transfer"):
        transfers(tmp_path)
    assert transfers(tmp_path / "none") == []


FULL = """
mount -t tmpfs -o size=200k tmpfs "$1" || exit 77
shift
"$@" && exit 78
mount -o remount,size=10m "$TO"
"$@" && cp -r "$TO" "$COPY"
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root on Linux can mount a file system")
def test_a_full_destination_is_one_line_and_loses_nothing(run, tmp_path):
    to, copy = tmp_path / "to", tmp_path / "copy"
    to.mkdir()
    command = [sys.executable, "-c", "from openeurollm.cli import main; main()", "transfer", str(run), f"{to}/mine"]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-uc", FULL, "sh", str(to), *command],
        env={**os.environ, "TO": str(to), "COPY": str(copy)},
        capture_output=True,
        text=True,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip(f"this user may not mount a file system: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert errors == [
        f"error: {to}/mine: the disk is full there; what was sent is kept, free some space and run the same again"
    ]
    assert files(copy / "mine") == carried(run)


@pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")
def test_rclone_carries_both_ways(run, tmp_path, monkeypatch):
    (tmp_path / "rclone.conf").write_text(f"[store]\ntype = alias\nremote = {tmp_path / 'store'}\n")
    monkeypatch.setenv("RCLONE_CONFIG", str(tmp_path / "rclone.conf"))
    for name in HOSTILE:
        if name.isprintable():
            (run / name).parent.mkdir(parents=True, exist_ok=True)
            (run / name).write_text(name)
    done = moved(run, "store:mine", tool="rclone")
    assert files(tmp_path / "store" / "mine") == carried(run)
    assert (tmp_path / "store" / "mine" / done["statement"]).is_file()
    moved("store:mine", tmp_path / "back", tool="rclone")
    assert files(tmp_path / "back") == carried(run)
    assert len(transfers(tmp_path / "back")) in (1, 2)
    (tmp_path / "store" / "mine" / "recipe.toml").write_bytes(b"?" + (run / "recipe.toml").read_bytes()[1:])
    assert moved(run, "store:mine", tool="rclone")["sent"]["files"] == 1
    assert files(tmp_path / "store" / "mine") == carried(run)
    (run / "new\nline").write_text("")
    with pytest.raises(BadInput, match="line breaks"):
        moved(run, "store:mine", tool="rclone")
