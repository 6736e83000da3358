"""Sites: what ships is whole and says where it is from, a user's own file, mistakes in words, and the real Slurm."""

import os
import tomllib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openeurollm.engine import site as sites
from openeurollm.engine.site import OWN, UNCONFIRMED, for_cpus, load, names, seconds
from openeurollm.engine.survey import check, scratch
from openeurollm.errors import BadInput

SHIPPED = Path(__file__).resolve().parents[2] / "sites"


def _own(folder, text, name="my.toml"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def _wrong(folder, text):
    with pytest.raises(BadInput) as raised:
        load(_own(folder, text))
    lines = str(raised.value).split("\n")
    assert all(line.startswith(f"{folder / 'my.toml'}: ") for line in lines)
    return [line.split(": ", 1)[1] for line in lines]


def test_every_file_that_ships_is_a_site():
    assert names() == sorted(path.stem for path in SHIPPED.glob("*.toml"))
    assert {"lumi-g", "leonardo-booster", "marenostrum5-acc", "jupiter", "laptop", "local-slurm"} < set(names())


@pytest.mark.parametrize("name", names())
def test_each_fact_that_ships_says_where_it_stands_and_when_it_was_read(name):
    site = load(name)
    assert site.name == name
    assert tomllib.loads((SHIPPED / f"{name}.toml").read_text("utf-8"))["facts"].keys() <= site.facts.keys()
    for key, fact in site.facts.items():
        assert fact.source == UNCONFIRMED or (fact.source.startswith("https://") and fact.date), key
        assert fact.date is None or date(2026, 1, 1) < fact.date <= date.today()
        if key != "walltime":
            assert getattr(site, key) == fact.value
    assert site.account == ""
    assert site.walltime is None or seconds(site.walltime) <= seconds(site.facts["walltime"].value)


@pytest.mark.parametrize("name", names())
def test_stages_without_gpus_go_where_no_gpu_stands_idle_if_the_site_has_such_nodes(name):
    site = load(name)
    if site.cpu_site:
        assert for_cpus(site).gpus == 0
        assert for_cpus(site).scheduler == site.scheduler
        assert (for_cpus(site).machine, for_cpus(site).scratch) == (site.machine, site.scratch)
    else:
        assert for_cpus(site) is site


def test_what_the_team_noted_of_the_clusters_stands_in_the_files():
    lumi = load("lumi-g")
    assert (lumi.gpus, lumi.gpu_hours_per_node_hour, lumi.max_files) == (8, 4, 2_000_000)
    assert [load(name).internet for name in ("leonardo-booster", "marenostrum5-acc", "jupiter")] == [False] * 3
    assert load("jupiter").machine == "aarch64"


def test_a_file_of_ones_own_takes_over_a_site_and_changes_it(tmp_path):
    text = 'extends = "lumi-g"\n[facts]\nmax_nodes = 16\n[use]\naccount = "project_1"\nsetup = ["module load X"]\n'
    site, ours = load(_own(tmp_path, text)), load("lumi-g")
    assert (site.name, site.title, site.host) == ("my", ours.title, ours.host)
    assert (site.max_nodes, site.account, site.setup, site.nodes) == (16, "project_1", ["module load X"], ours.nodes)
    assert (site.facts["max_nodes"].source, site.facts["max_nodes"].date) == (OWN, None)
    assert {key: fact for key, fact in site.facts.items() if key != "max_nodes"} == {
        key: fact for key, fact in ours.facts.items() if key != "max_nodes"
    }
    assert for_cpus(site).name == "lumi-c"
    assert for_cpus(site).account == "project_1"


def test_files_of_ones_own_may_extend_each_other_and_name_each_other(tmp_path):
    _own(tmp_path, 'extends = "lumi-c"\n[use]\naccount = "other"\nnodes = 9\n', "cpus.toml")
    _own(tmp_path, 'extends = "cpus.toml"\n[use]\nnodes = 2\n', "less.toml")
    site = load(_own(tmp_path, 'extends = "lumi-g"\n[use]\naccount = "mine"\ncpu_site = "less.toml"\n'))
    other = for_cpus(site)
    assert (other.name, other.nodes, other.account, other.partition) == ("less", 2, "other", "standard")


def test_a_site_that_is_not_known_is_told_with_the_nearest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BadInput, match=r"^unknown site `lumi`; did you mean `lumi-[cg]`\? there are jupiter, karolina, "
    ):
        load("lumi")
    with pytest.raises(BadInput, match=r"^unknown site `zzzzzz`; there are jupiter"):
        load("zzzzzz")
    with pytest.raises(BadInput, match=r"^.*/nowhere\.toml: no such file$"):
        load("nowhere.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[use]\nnods = 3", "unknown key `nods` in [use], did you mean `nodes`?"),
        ("[facts]\nmax_node = 3", "unknown key `max_node` in [facts], did you mean `max_nodes`?"),
        ("extend = 'lumi-c'", "unknown key `extend`, did you mean `extends`?"),
        ("[facts]\ncores = { valu = 3, source = 'unconfirmed' }", "`value` is missing in [facts.cores]"),
        ("[facts]\ncores = { value = 3 }", "`source` is missing in [facts.cores]"),
        ("[facts]\ncores = { value = 3, source = '' }", "`source` in [facts.cores]: "),
        ("[facts]\ncores = { value = 3, source = 'https://x.example' }", "`cores` in [facts]: give the date on which"),
        ("[facts]\ncores = '3'", "`cores` in [facts]: input should be a valid integer (it is '3')"),
        ("[facts]\ncores = -1", "`cores` in [facts]: input should be greater than or equal to 0 (it is -1)"),
        ("[facts]\ncores = true", "`cores` in [facts]: input should be a valid integer (it is True)"),
        ("[facts]\nmemory_gb = inf", "`memory_gb` in [facts]: input should be "),
        ("[facts]\nscheduler = 'pbs'", "`scheduler` in [facts]: input should be 'slurm' or 'none' (it is 'pbs')"),
        ('[facts]\npartition = "a\\n#SBATCH -x"', "`partition` in [facts]: give a name of letters"),
        ('[facts]\nscratch = "/a\\u0000b"', "`scratch` in [facts]: give one line of text"),
        ("[facts]\nwalltime = '3 days'", "`walltime` in [facts]: `3 days` is no walltime; write it as Slurm does"),
        ("[use]\nwalltime = 'soon'", "`walltime` in [use]: `soon` is no walltime"),
        ("[use]\nwalltime = '3-00:00:00'", "`walltime` in [use] is 3-00:00:00, but the site allows 2-00:00:00 at most"),
        ("[use]\nnodes = 100000", "`nodes` in [use] is 100000, but the site allows 512 at most"),
        ("[use]\naccount = 'me; rm -r /'", "`account` in [use]: give a name of letters"),
        ('[use]\noptions = ["--x\\n--y"]', "`0` in [use.options]: give one line of text"),
        ("[use]\nsetup = 'module load X'", "`setup` in [use]: input should be a valid list"),
        ("facts = 3", "`facts`: input should be a valid dictionary"),
        ("use = []", "`use`: input should be a valid dictionary"),
        ("[facts", "not valid TOML: "),
        ("[facts]\ncores = " + "9" * 5000, "a number has too many digits"),
        ("[facts]\ncores = " + "[" * 30_000, "not valid TOML: nested too deep"),
        ("# " + "x" * 64_000, "a site's file has at most 64,000 bytes"),
    ],
)
def test_a_mistake_is_told_in_words(tmp_path, text, said):
    assert _wrong(tmp_path, f'extends = "lumi-c"\n{text}')[0].startswith(said)


def test_a_site_needs_a_name_for_people_and_a_scheduler(tmp_path):
    assert sorted(_wrong(tmp_path, "[facts]\ncores = 4\n")) == [
        f"`{key}` is missing" for key in ("host", "scheduler", "title")
    ]


def test_a_circle_of_files_is_told(tmp_path):
    assert _wrong(tmp_path, 'extends = "my.toml"')[0] == "`extends` goes in a circle: my → my"
    _own(tmp_path, 'extends = "my.toml"', "other.toml")
    assert _wrong(tmp_path, 'extends = "./other.toml"')[0] == "`extends` goes in a circle: my → other → my"


def test_what_is_no_file_of_text_is_told(tmp_path):
    (tmp_path / "my.toml").write_bytes(b"title = '\xff'")
    with pytest.raises(BadInput, match="not UTF-8 text"):
        load(tmp_path / "my.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    for path in (tmp_path, tmp_path / "pipe.toml", Path("/dev/zero")):
        with pytest.raises(BadInput, match=r"no such file|unknown site"):
            load(path)


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_no_file_ends_in_anything_but_a_site_or_a_message(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "my.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput):
        load(path)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90", 5_400),
        ("30:00", 1_800),
        ("12:00:00", 43_200),
        ("2-12", 216_000),
        ("1-01:01", 90_060),
        ("2-00:00:00", 172_800),
    ],
)
def test_a_walltime_is_read_as_slurm_writes_it(text, length):
    assert seconds(text) == length


@given(st.integers(0, 999), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_days_hours_minutes_and_seconds_add_up(days, hours, minutes, rest):
    assert seconds(f"{days}-{hours:02}:{minutes:02}:{rest:02}") == ((days * 24 + hours) * 60 + minutes) * 60 + rest


@pytest.mark.parametrize("text", ["", "1:2:3:4", "-1", "1-", "٣", "1 day", "UNLIMITED", "1\n", "9" * 5_000])
def test_what_is_no_walltime_is_told(text):
    with pytest.raises(BadInput, match="is no walltime"):
        seconds(text)


def test_the_files_of_an_installed_package_are_below_its_prefix(tmp_path, monkeypatch):
    installed = tmp_path / "share" / "openeurollm" / "sites"
    installed.mkdir(parents=True)
    (installed / "there.toml").write_text('title = "T"\nhost = "H"\n[facts]\nscheduler = "none"\n')
    module = tmp_path / "lib" / "python3" / "site-packages" / "openeurollm" / "engine" / "site.py"
    monkeypatch.setattr(sites, "__file__", str(module))
    assert names() == ["there"]
    assert load("there").title == "T"


def test_scratch_is_the_users_own(tmp_path):
    site = load(_own(tmp_path, 'extends = "lumi-c"\n[facts]\nscratch = "/a/{account}/{x}"\n[use]\naccount = "p"\n'))
    assert scratch(site) == Path("/a/p/{x}")
    assert scratch(load("laptop")) is None


@pytest.fixture
def cluster(slurm, monkeypatch):
    """The real Slurm, where the commands look for it."""
    for name, value in slurm.env.items():
        monkeypatch.setenv(name, value)
    return slurm


def _found(site):
    return {finding.fact: finding for finding in check(site)}


def test_a_profile_that_fits_is_found_to_fit(cluster, tmp_path):
    text = f'extends = "local-slurm"\n[facts]\nscratch = "{tmp_path}"\nmax_files = 10\n'
    found = _found(load(_own(tmp_path, text)))
    facts = ["max_array", "partition", "max_nodes", "walltime", "cores", "memory_gb", "gpus", "scratch"]
    assert [found[fact].verdict for fact in facts] == ["ok"] * len(facts)
    assert found["cores"].found == str(cluster.cpus)
    assert found["gpus"].found == str(cluster.gpus)
    assert found["max_nodes"].found == str(len(cluster.nodes))
    assert not [finding for finding in found.values() if finding.verdict == "differs"]


@pytest.mark.parametrize(
    ("fact", "value", "advice"),
    [
        ("partition", "'standard-g'", "set `partition` to one of cpu, gpu"),
        ("walltime", "'2-00:00:00'", "set `walltime` to at most 01:00:00"),
        ("cores", 3, "set `cores` to at most 2"),
        ("cores", 1, "1 of a node stay idle"),
        ("memory_gb", 2000, "set `memory_gb` to at most 976"),
        ("memory_gb", 8, "968 of a node stay idle"),
        ("gpus", 4, "set `gpus` to 2, or choose another partition"),
        ("max_nodes", 5, "set `max_nodes` to at most 4"),
        ("max_array", 4001, "set `max_array` to at most 1001"),
        ("scratch", "'/nowhere/at/all'", "set `scratch` to a folder of yours on the shared disk"),
    ],
)
def test_what_differs_is_told_with_what_to_do(cluster, tmp_path, fact, value, advice):
    found = _found(load(_own(tmp_path, f'extends = "local-slurm"\n[facts]\n{fact} = {value}\n')))
    assert (found[fact].verdict, found[fact].advice) == ("differs", advice)
    assert [finding.fact for finding in found.values() if finding.verdict == "differs"] == [fact]


def test_a_partition_that_is_closed_is_told(cluster):
    cluster.call("scontrol", "update", "PartitionName=cpu", "State=DOWN")
    try:
        found = _found(load("local-slurm"))["partition"]
    finally:
        cluster.call("scontrol", "update", "PartitionName=cpu", "State=UP")
    assert (found.found, found.verdict) == ("cpu, DOWN", "differs")


def test_without_accounting_the_account_is_not_checked(cluster, tmp_path):
    text = 'extends = "local-slurm"\n[facts]\nqos = "normal"\nmax_jobs = 3\n[use]\naccount = "a"\n'
    found = _found(load(_own(tmp_path, text)))
    for fact, told in (("account", "a"), ("qos", "normal"), ("max_jobs", "3")):
        assert (found[fact].profile, found[fact].verdict) == (told, "unknown")
        assert found[fact].advice.startswith("not checked: ")


# The Slurm of the tests has no accounting: this program answers in the form that `sacctmgr -nP` has.
ACCOUNTING = "#!/bin/sh\nprintf 'alpha|long,normal|200\\nbeta|normal|\\n'\n"


@pytest.mark.parametrize(
    ("use", "facts", "verdicts"),
    [
        ('account = "alpha"', 'qos = "long"\nmax_jobs = 200', ["ok", "ok", "ok"]),
        ('account = "alpha"', 'qos = "debug"\nmax_jobs = 201', ["ok", "differs", "differs"]),
        ('account = "beta"', 'qos = "long"\nmax_jobs = 1', ["ok", "differs", "unknown"]),
        ('account = "gamma"', 'qos = "normal"\nmax_jobs = 1', ["differs", "differs", "unknown"]),
        ("", 'account_required = true\nqos = "normal"\nmax_jobs = 1', ["differs", "ok", "ok"]),
    ],
)
def test_accounts_and_qos_are_those_the_user_may_use(cluster, tmp_path, monkeypatch, use, facts, verdicts):
    program = _own(tmp_path, ACCOUNTING, "sacctmgr")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = _found(load(_own(tmp_path, f'extends = "local-slurm"\n[facts]\n{facts}\n[use]\n{use}\n')))
    assert [found[fact].verdict for fact in ("account", "qos", "max_jobs")] == verdicts


NOBODY = """
ClusterName=nobody
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort=1
AuthType=auth/none
NodeName=n1
PartitionName=cpu Nodes=n1
"""


def test_where_no_slurm_answers_one_line_says_so(cluster, tmp_path, monkeypatch):
    start = "no Slurm answers here; check lumi-g on a login node of LUMI-G"
    monkeypatch.setenv("SLURM_CONF", str(_own(tmp_path, NOBODY, "slurm.conf")))
    with pytest.raises(BadInput, match=rf"^{start} \(scontrol says: .*Unable to contact slurm controller.*\)$"):
        check(load("lumi-g"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=rf"^{start} \(there is no scontrol\)$"):
        check(load("lumi-g"))


def test_a_site_without_a_scheduler_has_only_its_disk_to_check(tmp_path):
    assert check(load("laptop")) == []
    site = load(_own(tmp_path, f'extends = "laptop"\n[facts]\nscratch = "{tmp_path}"\nmax_files = 10\n'))
    assert [(finding.fact, finding.verdict) for finding in check(site)] == [("scratch", "ok"), ("max_files", "ok")]
