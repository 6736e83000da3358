"""`openeurollm transfer`: a run or shards from site to site."""

from typing import Annotated

import typer

from openeurollm.cli.frame import AsJson, app, print_json


@app.command()
def transfer(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Folder here, or host:folder.", show_default=False)],
    destination: Annotated[
        str,
        typer.Argument(
            metavar="DEST",
            help="Folder that is to hold the same; with / at its end, the one around it.",
            show_default=False,
        ),
    ],
    tool: Annotated[str, typer.Option("--with", help="rsync, or rclone for remote:folder.")] = "rsync",
    with_work: Annotated[bool, typer.Option("--with-work", help="Scratch space of unfinished stages as well.")] = False,
    bandwidth: Annotated[str, typer.Option(help="Bytes a second at most: 500K, 10M, 1G.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Bring a run or shards to another site, checked by digest; run again after a break, it goes on.

    Hosts are reached by ssh as its own configuration says (~/.ssh/config), or as RSYNC_RSH does.
    """
    from openeurollm.engine import Reporter
    from openeurollm.engine import transfer as moving

    with moving.carrier(tool, bandwidth) as carrier:
        done = moving.transfer(source, destination, carrier, with_work, Reporter(quiet=as_json))
    if as_json:
        print_json(done)
        return
    for kind, names in done["left_out"].items():
        if names:
            typer.echo(f"left out: {len(names):,} {kind} ({names[0]!r}{', …' if len(names) > 1 else ''})")
    sent = done["sent"]
    if not sent["files"]:
        typer.echo(f"{done['destination']}: everything is there already, {done['files']:,} files with the same digests")
    else:
        typer.echo(
            f"{done['destination']}: {sent['files']:,} of {done['files']:,} files sent, {sent['bytes'] / 1e6:,.1f} MB "
            f"in {done['seconds']:,.1f} s, all digests as at the source; {done['statement']}"
        )
