"""Personal data: e-mail addresses, telephone numbers and IP addresses are replaced by placeholders and counted."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Any

import phonenumbers

from openeurollm.languages import languages

PLACEHOLDERS = {"email": "<email>", "phone": "<phone>", "ip": "<ip>"}

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}(?![\w@])")
_IP = re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4})(?![\w:]|\.\d)")
_PHONE = re.compile(r"(?<![\w.,/-])(?:\+|00|0|\(0)[\d\s().\u00a0\u202f/-]{6,22}\d(?![\w/]|[.,-]\d)")
"""Candidates only: an international or trunk prefix and enough digits. phonenumbers decides."""


def mask(text: str, tag: str) -> tuple[str, dict[str, int]]:
    """The text with placeholders for personal data, and how many of each were put in.

    `tag` is the text's language: numbers in national form are looked up in the countries where it is spoken.
    """
    counts = {"email": 0, "phone": 0, "ip": 0}

    def put(kind: str) -> str:
        counts[kind] += 1
        return PLACEHOLDERS[kind]

    if "@" in text:
        text = _EMAIL.sub(lambda _: put("email"), text)
    text = _IP.sub(lambda found: put("ip") if _is_address(found[0]) else found[0], text)
    countries = languages()[tag].countries if tag in languages() else ()
    text = _PHONE.sub(lambda found: put("phone") if _is_number(found[0], countries) else found[0], text)
    return text, counts


def _is_address(text: str) -> bool:
    try:
        address: Any = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified and not address.is_loopback


def _is_number(text: str, countries: Iterable[str]) -> bool:
    international = text.replace("00", "+", 1) if text.startswith("00") else text
    for country in ("ZZ",) if international.startswith("+") else tuple(countries):
        try:
            number = phonenumbers.parse(international, country)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return True
    return False
