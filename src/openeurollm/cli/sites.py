"""`openeurollm sites`: the clusters we know, what is known of each and from where, and whether it is true here."""

from typing import TYPE_CHECKING, Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json, print_table

if TYPE_CHECKING:
    from openeurollm.engine.site import Site

sites = typer.Typer(help="Clusters: what is known of each, from where, and whether it is true here.")
app.add_typer(sites, name="sites")

Named = Annotated[str, typer.Argument(metavar="SITE", help="A site's name, or a file such as my.toml.")]


@sites.callback(invoke_without_command=True)
def table(context: typer.Context, as_json: AsJson = False) -> None:
    """All sites, and how many of their facts somebody has read in the site's own pages."""
    from openeurollm.engine.site import load, names

    if context.invoked_subcommand:
        return
    known = [load(name) for name in names()]
    if as_json:
        print_json([_told(site) for site in known])
        return

    columns = ("site", "host", "GPU", "longest job", "internet", "confirmed facts", "GPUs a node", "cores a node")
    print_table("", columns, map(_row, known), numbers=2)
    print(
        "\n`openeurollm sites show SITE` says where each fact stands; `sites check SITE` compares them with a cluster"
    )


@sites.command()
def show(site: Named, as_json: AsJson = False) -> None:
    """One site: each fact with its source and the day it was read, and how the project uses the site."""
    from openeurollm.engine.site import Use, load

    known = load(site)
    if as_json:
        print_json(_told(known))
        return
    rows = [(key, _plain(fact.value), fact.source, fact.date) for key, fact in sorted(known.facts.items())]
    print_table(f"{known.title}, {known.host}", ("fact", "value", "source", "read on"), rows)
    print()
    used = [(key, _plain(getattr(known, key))) for key in Use.model_fields]
    print_table("How it is used", ("setting", "value"), used)


@sites.command()
def check(site: Named, as_json: AsJson = False) -> None:
    """Compare a profile with the cluster on whose login node this is; exit code 1 where they differ."""
    from dataclasses import asdict

    from openeurollm.engine.site import load
    from openeurollm.engine.survey import check as compare

    known = load(site)
    findings = compare(known)
    differ = sum(finding.verdict == "differs" for finding in findings)
    if as_json:
        print_json({"site": known.name, "differs": differ, "findings": [asdict(finding) for finding in findings]})
    else:
        rows = [(each.fact, each.profile, each.found, each.verdict, each.advice) for each in findings]
        print_table(known.title, ("fact", "profile", "found", "verdict", "advice"), rows)
        print(f"\n{differ} of {len(findings)} facts differ" if findings else "\nnothing to compare")
    if differ:
        raise typer.Exit(1)


def _row(site: "Site") -> tuple[object, ...]:
    longest = site.facts.get("walltime")
    read = f"{site.confirmed} of {len(site.facts)}"
    return site.name, site.host, site.gpu, longest and longest.value, _plain(site.internet), read, site.gpus, site.cores


def _told(site: "Site") -> dict[str, object]:
    from openeurollm.engine.site import Use

    used = {key: getattr(site, key) for key in Use.model_fields}
    facts = {key: fact.model_dump(mode="json") for key, fact in site.facts.items()}
    return {"name": site.name, "title": site.title, "host": site.host, "facts": facts, "use": used}


def _plain(value: object) -> str:
    """A value as people write it."""
    if isinstance(value, list):
        return "; ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
