"""Packs: a real pip, a real install into a fresh environment, from wheels made here and without a network."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from openeurollm.engine import pack as packing
from openeurollm.engine.wheels import Target
from openeurollm.errors import BadInput, Failure

HERE = Target(platform.machine(), "{}.{}".format(*sys.version_info), "none")
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["src"]
"""
BACKEND = '''
import zipfile

FILES = {
    "openeurollm.py": "def main(): print('here I am')",
    "openeurollm-0.1.0.dist-info/METADATA": """Metadata-Version: 2.1
Name: openeurollm
Version: 0.1.0
Provides-Extra: all
Requires-Dist: tiny[more]>=1
Requires-Dist: for-arm; platform_machine == "aarch64"
Requires-Dist: for-amd; platform_machine == "x86_64"
Requires-Dist: for-new>=2; python_version >= "3.99"
Requires-Dist: torch; extra == "all"
""",
    "openeurollm-0.1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any",
    "openeurollm-0.1.0.dist-info/entry_points.txt": "[console_scripts]\\nopeneurollm = openeurollm:main",
    "openeurollm-0.1.0.dist-info/RECORD": "",
}

def build_wheel(folder, config=None, metadata=None):
    name = "openeurollm-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    return name
'''


def make_wheel(folder, name, version, tag="py3-none-any", needs=""):
    base = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{base}-{tag}.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: more\n{needs}"
        wheel.writestr(f"{base}.dist-info/METADATA", metadata)
        wheel.writestr(f"{base}.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{base}.dist-info/RECORD", "")


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder of wheels that pip is told of; nothing else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    folder = tmp_path / "shop"
    folder.mkdir()
    make_wheel(folder, "tiny", "1.0", needs='Requires-Dist: deep; extra == "more"\n')
    make_wheel(folder, "tiny", "2.0")
    make_wheel(folder, "deep", "3.1")
    make_wheel(folder, "torch", "2.13.0+cpu")
    make_wheel(folder, "for-arm", "1.0", "cp3{0}-cp3{0}-manylinux_2_28_aarch64".format(HERE.python[2:]))
    make_wheel(folder, "for-amd", "1.0", "cp3{0}-cp3{0}-manylinux_2_17_x86_64".format(HERE.python[2:]))
    return folder


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "src").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "src" / "backend.py").write_text(BACKEND)
    (folder / "requirements.lock").write_text("tiny==1.0\nunused==7\n")
    return folder


@pytest.fixture
def paths(tmp_path):
    """What a recipe names: two places whose files have one name, and a folder with odd names."""
    home = tmp_path / "home"
    for name in ("a/text.txt", "b/text.txt", "c/sub/-x y", "c/new\nline\\", "c/.hidden/x", "c/$(touch pwned)"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    (home / "c" / "same").symlink_to("sub/-x y")
    (home / "c" / "folder").symlink_to("sub")
    (home / "c" / "nothing").symlink_to("gone")
    os.mkfifo(home / "c" / "pipe")
    return {
        "parallel": home / "a" / "text.txt",
        "sources/t/path": home / "b" / "text.txt",
        "sources/u/path": home / "c",
    }


def packed(tmp_path, paths, shop, project, target=HERE, out="pack"):
    data = packing.survey(paths, tmp_path / out)
    indexes = ["--no-index", f"--find-links={shop}"]
    return packing.pack(tmp_path / out, "name = 'x'\n", data, "laptop", target, project, indexes)


def install(folder, *words, **environment):
    return subprocess.run(
        ["sh", str(folder / "install.sh"), *words],
        cwd="/",
        env={**os.environ, "PYTHON": sys.executable, "PIP_NO_INDEX": "1", **environment},
        capture_output=True,
        text=True,
    )


def checks(folder):
    return subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=folder).returncode == 0


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_pack_installs_itself_without_a_network_and_runs(tmp_path, paths, shop, project):
    made = packed(tmp_path, paths, shop, project)
    own = {"x86_64": "for-amd", "aarch64": "for-arm"}[HERE.machine]
    assert made["wheels"] == {
        own: "1.0", "deep": "3.1", "openeurollm": "0.1.0", "tiny": "1.0", "torch": "2.13.0+cpu"
    }  # fmt: skip
    assert made["left_out"] == {
        "data/sources/u/path/c/.hidden/x": "hidden",
        "data/sources/u/path/c/folder": "a link to a folder",
        "data/sources/u/path/c/nothing": "a link to nothing",
        "data/sources/u/path/c/pipe": "no file (p)",
    }
    away = tmp_path / "a way'; touch pwned" / "pack"
    shutil.copytree(tmp_path / "pack", away)
    shutil.rmtree(shop)
    done = install(away)
    assert done.returncode == 0, done.stderr
    program, recipe = f"{away}/venv/bin/openeurollm", f"{away}/recipe.toml"
    assert done.stdout == f'installed; next:\n  "{program}" run "{recipe}" --on laptop\n'
    assert subprocess.run([program], capture_output=True, text=True).stdout == "here I am\n"
    assert checks(away), "what installing leaves is no part of the pack"
    assert not list(tmp_path.rglob("pwned"))


def test_every_file_is_packed_as_it_is_under_a_name_of_its_own(tmp_path, paths, shop, project):
    packed(tmp_path, paths, shop, project)
    found = {name: data for name, data in files(tmp_path / "pack").items() if name.startswith("data/")}
    assert found == {
        "data/parallel/text.txt": b"a/text.txt",
        "data/sources/t/path/text.txt": b"b/text.txt",
        "data/sources/u/path/c/sub/-x y": b"c/sub/-x y",
        "data/sources/u/path/c/same": b"c/sub/-x y",
        "data/sources/u/path/c/new\nline\\": b"c/new\nline\\",
        "data/sources/u/path/c/$(touch pwned)": b"c/$(touch pwned)",
    }
    assert checks(tmp_path / "pack")
    assert not any(path.is_symlink() for path in (tmp_path / "pack").rglob("*"))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_wheels_are_those_of_the_site_whatever_this_machine_is(tmp_path, paths, shop, project, machine):
    made = packed(tmp_path, paths, shop, project, Target(machine, HERE.python, "none"))
    found = {path.name.split("-")[0] for path in (tmp_path / "pack" / "wheels").glob("*.whl")}
    assert {"x86_64": "for_amd", "aarch64": "for_arm"}[machine] in found
    assert len(found) == len(made["wheels"]) == 5


def test_what_the_sites_python_needs_and_is_not_there_is_named(tmp_path, paths, shop, project):
    make_wheel(shop, "for-arm", "1.0")
    make_wheel(shop, "for-amd", "1.0")
    with pytest.raises(Failure, match=r"^wheels: pip download failed: [^\n]*for-new>=2[^\n]*run again to go on$"):
        packed(tmp_path, paths, shop, project, Target(HERE.machine, "3.99", "none"))


@pytest.mark.parametrize("accelerator", ["cuda", "rocm"])
def test_torch_for_another_accelerator_is_refused(tmp_path, paths, shop, project, accelerator):
    target = Target(HERE.machine, HERE.python, accelerator)
    with pytest.raises(Failure, match=rf"torch 2.13.0\+cpu, which is not built for {accelerator}; [^\n]*--extra-index"):
        packed(tmp_path, paths, shop, project, target)
    make_wheel(shop, "torch", f"2.14.0+{'cu130' if accelerator == 'cuda' else 'rocm7.2'}")
    packed(tmp_path, paths, shop, project, target)
    assert checks(tmp_path / "pack")


def test_the_installer_checks_before_it_does_anything(tmp_path, paths, shop, project):
    packed(tmp_path, paths, shop, project)
    good = files(tmp_path / "pack")
    changed = {
        "recipe.toml": (b"name", b"game"),
        "data/parallel/text.txt": (b"a", b"b"),
        "install.sh": (b"# Install", b"# install"),
    }
    for name, (old, new) in changed.items():
        (tmp_path / "pack" / name).write_bytes(good[name].replace(old, new))
        done = install(tmp_path / "pack")
        assert (done.returncode, done.stdout.count("FAILED")) == (2, 1)
        assert done.stderr.splitlines()[-1].startswith("error: files of this pack are missing or changed; ")
        (tmp_path / "pack" / name).write_bytes(good[name])
    (tmp_path / "pack" / "wheels" / "deep-3.1-py3-none-any.whl").unlink()
    assert install(tmp_path / "pack").returncode == 2
    assert not (tmp_path / "pack" / "venv").exists()


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (Target(HERE.machine, "3.10", "none"), "error: this pack is for Python 3.10, "),
        (Target("sparc", HERE.python, "none"), "error: this pack is for Linux on sparc, this is Linux "),
    ],
)
def test_another_machine_or_python_is_one_line(tmp_path, target, error):
    (tmp_path / "install.sh").write_text(packing._installer(target, "laptop"))
    done = install(tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(error)


def test_again_keeps_what_is_right_and_mends_what_is_not(tmp_path, paths, shop, project):
    packed(tmp_path, paths, shop, project)
    out = tmp_path / "pack"
    whole, inodes = files(out), {path: path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    (out / "data/parallel/text.txt").write_bytes(b"A/text.txt")
    (out / "data/stray").write_bytes(b"")
    (out / "data/sources/t/path/.text.txt.1.part").write_bytes(b"")
    shutil.rmtree(shop)  # pip has nowhere to look: wheels that are there are kept
    packed(tmp_path, paths, shop, project)
    assert files(out).keys() == whole.keys()
    assert checks(out)
    same = [path for path in inodes if path.stat().st_ino == inodes[path]]
    assert {path.parts[-2] for path in same} >= {"wheels", "sub"}
    assert out / "data/parallel/text.txt" not in same
    (out / "wheels" / "tiny-1.0-py3-none-any.whl").write_bytes(b"spoilt")
    with pytest.raises(Failure, match="pip download failed"):
        packed(tmp_path, paths, shop, project)
    assert not (out / "SHA256SUMS").exists(), "half a pack is no pack"


KILLED = """
import sys
from pathlib import Path
from openeurollm.engine import pack as packing
from openeurollm.engine.wheels import Target
out, shop, project, big = map(Path, sys.argv[1:5])
data = packing.survey({"sources/big/path": big}, out)
indexes = ["--no-index", f"--find-links={shop}"]
packing.pack(out, "name = 'x'\\n", data, "laptop", Target(*sys.argv[5:]), project, indexes)
"""


def test_killed_anywhere_it_goes_on_to_the_same_pack(tmp_path, shop, project):
    big = tmp_path / "big"
    big.mkdir()
    for number in range(40):
        (big / f"{number}").write_bytes(os.urandom(1 << 20))
    words = [str(shop), str(project), str(big), *vars(HERE).values()]
    command = [sys.executable, "-c", KILLED, str(tmp_path / "pack")]
    for sight in (".pack/wheels/openeurollm-0.1.0-py3-none-any.whl", "data/sources/big/path/big/3"):
        process = subprocess.Popen([*command, *words], start_new_session=True)
        while not (tmp_path / "pack" / sight).exists():
            assert process.poll() is None
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "pack" / "SHA256SUMS").exists()
    subprocess.run([*command, *words], check=True)
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "other"), *words], check=True)
    one, other = files(tmp_path / "pack"), files(tmp_path / "other")
    assert one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] in ([], ["SHA256SUMS", "pack.json"])
    assert checks(tmp_path / "pack")


def test_a_change_of_the_project_builds_it_anew_and_fetches_nothing(tmp_path, paths, shop, project):
    packed(tmp_path, paths, shop, project)
    shutil.rmtree(shop)
    (project / "src" / "backend.py").write_text(BACKEND.replace("here I am", "there you are"))
    packed(tmp_path, paths, shop, project)
    with zipfile.ZipFile(tmp_path / "pack" / "wheels" / "openeurollm-0.1.0-py3-none-any.whl") as own:
        assert b"there you are" in own.read("openeurollm.py")
    assert checks(tmp_path / "pack")


def test_links_out_of_a_folder_are_refused_or_copied_as_asked(tmp_path, paths, shop, project):
    outside = tmp_path / "outside"
    outside.write_text("outside")
    (tmp_path / "home" / "c" / "out").symlink_to(outside)
    with pytest.raises(BadInput, match=r"^[^\n]*c/out: a link that leads out of [^\n]*--copy-links[^\n]*$"):
        packing.survey(paths, tmp_path / "pack")
    data = packing.survey(paths, tmp_path / "pack", copy_links=True)
    packing.pack(tmp_path / "pack", "", data, "laptop", HERE)
    found = tmp_path / "pack" / "data" / "sources" / "u" / "path" / "c" / "out"
    assert (found.is_symlink(), found.read_text()) == (False, "outside")


def test_folders_that_cannot_be_packs(tmp_path, paths):
    home = tmp_path / "home"
    with pytest.raises(BadInput, match="lie in one another"):
        packing.survey(paths, home / "c" / "pack")
    with pytest.raises(BadInput, match="lie in one another"):
        packing.survey(paths, home)
    with pytest.raises(BadInput, match="does not exist"):
        packing.survey({"parallel": tmp_path / "gone"}, tmp_path / "pack")
    data = packing.survey(paths, tmp_path / "pack")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(BadInput, match="holds something else"):
        packing.pack(tmp_path / "full", "", data, "laptop", HERE)
    assert files(tmp_path / "full") == {"thesis.txt": b"mine"}
    with pytest.raises(BadInput, match="is a file"):
        packing.pack(tmp_path / "full" / "thesis.txt", "", data, "laptop", HERE)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/\xff")).write_text("")
    with pytest.raises(BadInput, match="not UTF-8"):
        packing.survey({"parallel": tmp_path / "in"}, tmp_path / "pack")
