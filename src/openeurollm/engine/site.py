"""Clusters as data: what is known of a site, from where and since when, and how this project uses it.

The files stand in `sites/`, one a site; `openeurollm.engine.survey` compares what they say with the cluster itself.
"""

import datetime
import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from openeurollm.errors import BadInput, explain

MAX_BYTES = 64_000
UNCONFIRMED = "unconfirmed"
"""The source of a fact that nobody has read in the site's own documentation."""
OWN = "the user's own file"
"""The source of a fact given as a plain value."""


def _one_line(text: str) -> str:
    if not text.replace("\t", " ").isprintable():
        raise ValueError("give one line of text, without control characters")
    return text


def _word(text: str) -> str:
    if not re.fullmatch(r"[\w.,@:+-]*", text, re.ASCII):
        raise ValueError("give a name of letters, digits and . , @ : + - _")
    return text


Count = Annotated[int, Field(ge=0, le=10**9)]
Amount = Annotated[float, Field(ge=0, le=10**9)]
Text = Annotated[str, Field(max_length=500), AfterValidator(_one_line)]
Name = Annotated[str, Field(max_length=100), AfterValidator(_word)]
"""What Slurm takes for a name; it goes into scripts as it stands."""


def seconds(walltime: str) -> int:
    """The length of a walltime as Slurm writes it: `90` (minutes), `30:00`, `12:00:00`, `2-12`, `2-00:00:00`.

    Raises `BadInput` for any other text.
    """
    match = re.fullmatch(r"(?:(\d{1,4})-)?(\d{1,6})(?::(\d{1,6}))?(?::(\d{1,6}))?", walltime, re.ASCII)
    if not match:
        raise BadInput(f"`{walltime}` is no walltime; write it as Slurm does, such as 12:00:00 or 2-00:00:00")
    days, *given = match.groups()
    parts = [int(part) for part in given if part is not None]
    if days is None and len(parts) < 3:
        parts = [0, *parts]  # without days, one number is minutes and two are minutes and seconds
    hours, minutes, rest = (*parts, 0, 0)[:3]
    return int(days or 0) * 86_400 + hours * 3_600 + minutes * 60 + rest


def _walltime(text: str) -> str:
    try:
        seconds(text)
    except BadInput as error:
        raise ValueError(str(error)) from None
    return text


class Table(BaseModel):
    """A table of a site's file: unknown keys are refused, values are neither converted nor changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("walltime", check_fields=False)
    @classmethod
    def _is_a_walltime(cls, value: str | None) -> str | None:
        return value if value is None else _walltime(value)


class Fact(Table):
    """What a site says of itself: the value, where that stands, and the day it was read (`None` where it was not)."""

    value: Any
    source: Annotated[Text, Field(min_length=1)]
    date: datetime.date | None = None

    @property
    def confirmed(self) -> bool:
        """Whether somebody has read it in the site's documentation."""
        return self.source != UNCONFIRMED

    @model_validator(mode="after")
    def _dated(self) -> Self:
        if self.date is None and self.source not in (UNCONFIRMED, OWN):
            raise ValueError(f"give the date on which the source was read, or the source `{UNCONFIRMED}`")
        return self


class Values(Table):
    """The values of a site's facts; `None` where they are not known or there is no such thing."""

    scheduler: Literal["slurm", "none"] | None = None
    partition: Name | None = None
    account_required: bool | None = None
    qos: Name | None = None
    max_nodes: Count | None = None
    """Nodes that one job may have."""
    cores: Count | None = None
    """Physical cores of a node that a job may use."""
    memory_gb: Amount | None = None
    """Memory of a node that a job may use, in units of 1024³ bytes, as Slurm's `G`."""
    gpus: Count | None = None
    """Devices of a node as torch sees them."""
    gpu: Text | None = None
    gpu_tflops: Amount | None = None
    """Peak of one device, bfloat16, dense."""
    gpu_hour: Text | None = None
    """What the site bills as one GPU-hour, in words."""
    gpu_hours_per_node_hour: Amount | None = None
    walltime: str | None = None
    """The longest walltime."""
    max_array: Count | None = None
    """Slurm's MaxArraySize: the highest index of an array is one less."""
    max_jobs: Count | None = None
    """Jobs that one user may have queued and running."""
    container: Name | None = None
    interface: Name | None = None
    """Network interface for NCCL and Gloo; a prefix will do."""
    scratch: Text | None = None
    """Folder for runs; `{account}`, `{group}` and `{user}` stand for the user's own."""
    max_files: Count | None = None
    internet: bool | None = None
    """Whether compute nodes reach it."""
    machine: Literal["x86_64", "aarch64"] | None = None
    accelerator: Literal["cuda", "rocm", "none"] | None = None
    node_watts: Amount | None = None
    """Power of a node under load."""
    euros_per_node_hour: Amount | None = None


class Use(Table):
    """How this project uses a site: choices, no facts."""

    cpu_site: Text = ""
    """The site where stages without GPUs go; empty: this one."""
    nodes: Annotated[int, Field(ge=1, le=100_000)] = 1
    account: Name = ""
    setup: list[Text] = []
    """Lines of shell before the program."""
    launcher: list[Text] = []
    """Words before the Python command."""
    confirm_node_hours: Amount = 100.0
    """The user is asked before work that may take more."""
    warning_seconds: Annotated[int, Field(ge=0, le=65_535)] = 300
    """How long before its walltime a job is warned."""
    walltime: str | None = None
    """What a job asks for."""
    lease_seconds: Annotated[float, Field(ge=0.1, le=86_400)] = 60.0
    """How long a silent worker counts as alive."""
    options: list[Text] = []
    """Further options of sbatch, such as `--exclusive`."""


class Site(Values, Use):
    """A place where stages run: the values of its facts and how it is used. `walltime` is what a job asks for; the
    longest the site allows is `facts["walltime"]`."""

    name: str
    title: Text
    host: Text
    facts: dict[str, Fact]
    scheduler: Literal["slurm", "none"]
    walltime: str | None = None

    @property
    def confirmed(self) -> int:
        """How many facts somebody has read in the site's documentation."""
        return sum(fact.confirmed for fact in self.facts.values())

    @model_validator(mode="after")
    def _within_its_limits(self) -> Self:
        longest = self.facts.get("walltime")
        if longest and self.walltime and seconds(self.walltime) > seconds(str(longest.value)):
            raise ValueError(f"`walltime` in [use] is {self.walltime}, but the site allows {longest.value} at most")
        if self.max_nodes and self.nodes > self.max_nodes:
            raise ValueError(f"`nodes` in [use] is {self.nodes}, but the site allows {self.max_nodes} at most")
        return self


class _File(Table):
    title: Text | None = None
    host: Text | None = None
    extends: Text | None = None
    facts: dict[str, Fact] = {}
    use: dict[str, Any] = {}


def names() -> list[str]:
    """The sites that come with the package."""
    return sorted(path.stem for path in _folder().glob("*.toml"))


def load(site: str | Path) -> Site:
    """A site by its name, or from a file of one's own (`my.toml`), which may extend another.

    Raises `BadInput` with a line for each mistake.
    """
    path = _find(str(site), Path())
    files, seen = [_read(path)], [path]
    while extends := files[-1].extends:
        path = _find(extends, path.parent)
        if path in seen:
            raise BadInput(f"{seen[0]}: `extends` goes in a circle: {' → '.join(p.stem for p in [*seen, path])}")
        files.append(_read(path))
        seen.append(path)
    told: dict[str, Any] = {"name": seen[0].stem}
    facts: dict[str, Fact] = {}
    use: dict[str, Any] = {}
    for file in reversed(files):
        facts |= file.facts
        use |= file.use
        told |= {key: text for key in ("title", "host") if (text := getattr(file, key))}
    values = {key: fact.value for key, fact in facts.items()}
    try:
        return Site.model_validate({**values, **use, **told, "facts": facts})
    except ValidationError as error:
        raise BadInput(_mistakes(seen[0], error, Site)) from None


def for_cpus(site: Site) -> Site:
    """The site where stages without GPUs of this one go, under the same account."""
    if not site.cpu_site:
        return site
    other = load(site.cpu_site)
    return other.model_copy(update={"account": other.account or site.account})


def _folder() -> Path:
    """`sites` of the checkout, else the `share` of the prefix into which the package was installed."""
    above = Path(__file__).parents
    if above[2].name == "src":
        return above[3] / "sites"
    places = [folder / "share" / "openeurollm" / "sites" for folder in above]
    return next((place for place in places if place.is_dir()), places[-1])


def _find(name: str, base: Path) -> Path:
    """The file of a site: a name is one of ours, a path is taken from `base`."""
    if name.endswith(".toml") or "/" in name:
        return (base / Path(name).expanduser()).resolve()
    known = names()
    if name in known:
        return (_folder() / f"{name}.toml").resolve()
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    raise BadInput(f"unknown site `{name}`; {hint}there are {', '.join(known)}; or give a file that ends in .toml")


def _read(path: Path) -> _File:
    try:
        if not path.is_file():
            raise BadInput(f"{path}: no such file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise BadInput(f"{path}: a site's file has at most {MAX_BYTES:,} bytes")
        raw = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: not valid TOML: {error}") from None
    except ValueError:
        raise BadInput(f"{path}: a number has too many digits") from None
    except RecursionError:
        raise BadInput(f"{path}: not valid TOML: nested too deep") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read: {error.strerror}") from None
    if isinstance(raw.get("facts"), dict):
        given = raw["facts"].items()
        raw["facts"] = {key: fact if isinstance(fact, dict) else {"value": fact, "source": OWN} for key, fact in given}
    try:
        file = _File.model_validate(raw)
    except ValidationError as error:
        raise BadInput(_mistakes(path, error, _File)) from None
    _validate(path, "facts", Values, {key: fact.value for key, fact in file.facts.items()})
    _validate(path, "use", Use, file.use)
    if file.use.get("cpu_site", "").endswith(".toml"):
        file.use["cpu_site"] = str(_find(file.use["cpu_site"], path.parent))
    return file


def _validate(path: Path, table: str, model: type[Table], values: dict[str, Any]) -> None:
    try:
        model.model_validate(values)
    except ValidationError as error:
        raise BadInput(_mistakes(path, error, model, table)) from None


def _mistakes(path: Path, error: ValidationError, model: type[Table], *table: str) -> str:
    lines = []
    for detail in error.errors():
        place = [*table, *map(str, detail["loc"])] or [""]
        known = Fact.model_fields if place[0] == "facts" and len(place) > 2 else model.model_fields
        lines.append(f"{path}: {explain(detail['type'], detail['msg'], place, detail['input'], known)}")
    return "\n".join(dict.fromkeys(lines))
