"""The language contract, tags, and identification."""

from openeurollm.languages.contract import Language, contract, contracts, languages, name, named, script_bytes
from openeurollm.languages.declaration import declaration
from openeurollm.languages.identify import UNKNOWN, Answer, identify, normal_tag, script_of, scripts
from openeurollm.languages.scores import identifier_scores

__all__ = [
    "UNKNOWN",
    "Answer",
    "Language",
    "contract",
    "contracts",
    "declaration",
    "identifier_scores",
    "identify",
    "languages",
    "name",
    "named",
    "normal_tag",
    "script_bytes",
    "script_of",
    "scripts",
]
