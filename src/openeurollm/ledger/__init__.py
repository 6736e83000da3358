"""Records, digests, costs and the run folder."""

from openeurollm.ledger.cost import Meter, cores, host, spent, with_others
from openeurollm.ledger.files import (
    Digests,
    digest,
    digest_of,
    files_below,
    inside,
    inside_model,
    partial_name,
    read_json,
    remove,
    remove_partial,
    whole,
    write_json,
    write_text,
)
from openeurollm.ledger.record import NAME, Counts, Record, code_digest, damage, now, outputs, read
from openeurollm.ledger.run_folder import FOLDERS, RunFolder, open_run
from openeurollm.ledger.sums import sums

__all__ = [
    "FOLDERS",
    "Digests",
    "NAME",
    "Counts",
    "Meter",
    "Record",
    "RunFolder",
    "code_digest",
    "cores",
    "damage",
    "digest",
    "digest_of",
    "files_below",
    "host",
    "inside",
    "inside_model",
    "now",
    "open_run",
    "outputs",
    "partial_name",
    "read",
    "read_json",
    "remove",
    "remove_partial",
    "spent",
    "sums",
    "whole",
    "with_others",
    "write_json",
    "write_text",
]
