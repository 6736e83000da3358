"""Personal data: e-mail addresses, telephone numbers and IP addresses are replaced by placeholders and counted."""

import ipaddress
import re
from collections.abc import Callable, Sequence

import phonenumbers

from openeurollm.languages import languages

PLACEHOLDERS = {"email": "<email>", "phone": "<phone>", "ip": "<ip>"}

_EMAIL = re.compile(r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}(?:xn--[\w-]{2,59}|[^\W\d_]{2,24})(?![\w@])")
_IP4 = r"\d{1,3}(?:\.\d{1,3}){3}"
_IP = re.compile(
    rf"(?<![\w.])(?:(?<![\da-fA-F:]:)(?:[\da-fA-F]{{0,4}}:){{2,7}}(?:{_IP4}|[\da-fA-F]{{0,4}})(?!:)|{_IP4})(?!\w|\.\d)"
)
_YEAR = r"(?:1[5-9]|20)\d\d(?!\d)"
_OTHER = (
    rf"(?:\d{{1,2}}\s?[./-]\s?){{1,2}}{_YEAR}"  # a date
    r"|\d{1,2}[.:]\d\d\s?-\s?\d{1,2}[.:]\d\d(?!\d)"  # opening hours
    rf"|\d{{1,5}}/{_YEAR}"  # the number of a law
    r"|0\.\d+(?![\d.])"  # a fraction
)
_DIGITS, _END = r"[\d \t().\u00a0\u202f/-]", r"\d(?![\w/]|[.,-]\d)"
_ALONE = r"(?<!\D\d\s)(?<!\D\d\d\s)(?<!\D\d\d\d\s)"
"""Not a group of digits after others: tables are full of `14 097 1 402`."""
_WORDS = (
    "tel|tél|tlf|tfn|mob|gsm|fax|faks|fón|ffôn|puh|matkap|tālr|guthán|sími"
    "|τηλ|κιν|φαξ|тел|моб|факс|ტელ|მობ|հեռ|բջջ|☎|📞"
)
"""How words for a telephone, a mobile telephone and a fax begin in the languages of the contract."""
_PHONE = re.compile(rf"(?<![\w.,/-])(?<!\d[./-]\s)(?!\(?(?:{_OTHER}))(?:\+|\(0|{_ALONE}0){_DIGITS}{{6,34}}{_END}")
"""Candidates only: an international or trunk prefix and enough digits. phonenumbers decides."""
_CALLED = re.compile(
    rf"(?<!\w)((?:{_WORDS})\w{{0,12}}[^\w+(]{{0,4}})(?!{_OTHER})(\(?\d{_DIGITS}{{4,34}}{_END})", re.IGNORECASE
)
"""Where numbers have no trunk prefix, a word must say what they are: `tel. 212 345 678`."""
_GAP = re.compile(r"[^\d()]+")
_BOOK = re.compile(r"IS[BSM]N\W{0,3}(?:1[03]\W{0,3})?$")


def mask(text: str, tag: str) -> tuple[str, dict[str, int]]:
    """The text with placeholders for personal data, and how many of each were put in.

    `tag` is the text's language: numbers in national form are looked up in the countries where it is spoken.
    """
    counts = {"email": 0, "phone": 0, "ip": 0}

    def put(kind: str) -> str:
        counts[kind] += 1
        return PLACEHOLDERS[kind]

    def put_phone() -> str:
        return put("phone")

    if "@" in text:
        text = _EMAIL.sub(lambda _: put("email"), text)
    text = _IP.sub(lambda found: put("ip") if _is_address(found[0]) else found[0], text)
    countries = languages()[tag].countries if tag in languages() else ()
    text = _CALLED.sub(lambda found: found[1] + _masked(found[2], countries, put_phone), text)
    text = _PHONE.sub(
        lambda found: found[0] if _is_book(found) else _masked(found[0], countries or ("ZZ",), put_phone), text
    )
    return text, counts


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified and not address.is_loopback


def _is_book(found: re.Match[str]) -> bool:
    return _BOOK.search(found.string[max(0, found.start() - 12) : found.start()]) is not None


def _masked(candidate: str, countries: Sequence[str], put: Callable[[], str]) -> str:
    """The candidate with the number that it is or begins with replaced, the longest one; the rest is searched again."""
    for end in (len(candidate), *(gap.start() for gap in reversed(list(_GAP.finditer(candidate))))):
        if any(_is_number(candidate[:end], country) for country in countries):
            rest = candidate[end:]
            return put() + _PHONE.sub(lambda found: _masked(found[0], countries, put), rest)
    return candidate


def _is_number(text: str, country: str) -> bool:
    if not 6 <= sum(map(str.isdigit, text)) <= 17:
        return False
    international = text.replace("00", "+", 1) if text.startswith("00") else text
    try:
        return bool(phonenumbers.is_valid_number(phonenumbers.parse(international, country)))
    except phonenumbers.NumberParseException:
        return False
