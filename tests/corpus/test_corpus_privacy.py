"""Personal data: what is masked, and what only looks like it."""

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openeurollm.corpus.privacy import mask
from openeurollm.languages import languages

TAGS = tuple(languages())
COUNTRIES = sorted({country for language in languages().values() for country in language.countries})
SPOKEN = {country: tag for tag, language in languages().items() for country in language.countries}


ADDRESSES = ["a@b.eu", "jan.novak+post@mail.example.co.uk", "ÜNAL@örnek.com.tr", "иван@пример.бг", "jo_x%y@x-y.org"]
ADDRESSES += ["jo@xn--e1afmkfd.xn--p1ai"]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("around", ["{}", "Write to {}.", "<{}>", "mailto:{}", "({})", "e-mail:{},", "{}/x"])
def test_e_mail_addresses_are_masked(address, around):
    text, counts = mask(around.format(address), "en")
    assert text == around.format("<email>")
    assert counts == {"email": 1, "phone": 0, "ip": 0}


@pytest.mark.parametrize("text", ["@home", "user@", "a@b", "@ 5 euro", "jo@@x.example", "@gov.mt said", "x@1.2"])
def test_an_at_sign_alone_is_no_address(text):
    assert mask(text, "en")[1]["email"] == 0


@pytest.mark.parametrize(
    "address", ["203.0.113.5", "192.168.1.254", "2001:db8::1", "2001:0DB8:0:0:0:0:0:1", "fe80::1", "::ffff:203.0.113.5"]
)
@pytest.mark.parametrize("around", ["{}", "The server {}.", "({})", "http://{}/x", "{}/24", "IP: {}"])
def test_ip_addresses_are_masked(address, around):
    text, counts = mask(around.format(address), "en")
    assert text == around.format("<ip>")
    assert counts == {"email": 0, "phone": 0, "ip": 1}


def test_an_address_may_have_a_port():
    assert mask("203.0.113.5:8080 and [2001:db8::1]:443", "en")[0] == "<ip>:8080 and [<ip>]:443"


@pytest.mark.parametrize(
    "text", ["999.1.1.1", "1.2.3", "v1.2.3.4", "1.2.3.4.5", "12:30:45", "std::vector", "::", "127.0.0.1"]
)
def test_what_is_no_address_stays(text):
    assert mask(text, "en")[0] == text


def _examples():
    """A fixed and a mobile number of every country, in every way of writing them."""
    kinds, styles = phonenumbers.PhoneNumberType, phonenumbers.PhoneNumberFormat
    for country in COUNTRIES:
        for kind in (kinds.FIXED_LINE, kinds.MOBILE):
            number = phonenumbers.example_number_for_type(country, kind)
            if number is not None:
                for style in (styles.INTERNATIONAL, styles.E164, styles.NATIONAL):
                    yield country, phonenumbers.format_number(number, style)


@pytest.mark.parametrize(("country", "number"), _examples())
def test_telephone_numbers_of_every_country_are_masked(country, number):
    tag = SPOKEN[country]
    international = number.startswith("+")
    for around in ("Tel. {}.", "(tel: {})", *(("{}", "call {} now") if international or number[0] in "0(" else ())):
        assert mask(around.format(number), tag) == (around.format("<phone>"), {"email": 0, "phone": 1, "ip": 0})
    if international:
        assert mask(f"00{number[1:]}", tag)[0] == "<phone>"
        assert mask(f"Ring {number}!", "mt" if tag != "mt" else "ka")[0] == "Ring <phone>!"


@pytest.mark.parametrize(
    ("text", "tag", "masked"),
    [
        ("Tel. +49 30 123456, Fax (030) 123457.", "de", "Tel. <phone>, Fax <phone>."),
        ("030 12345678\n030 12345679", "de", "<phone>\n<phone>"),
        ("Stand 05.06.2024 030 123456", "de", "Stand 05.06.2024 <phone>"),
        ("Телефон: 02 123 456", "bg", "Телефон: <phone>"),
        ("Τηλ. 21 2345 6789", "el", "Τηλ. <phone>"),
        ("Telefon: (01) 234 56 78", "sl", "Telefon: <phone>"),
        ("+385 (0)1 2345 678", "hr", "<phone>"),
        ("Tel./Fax: 21 234 5678", "pt", "Tel./Fax: <phone>"),
        ("☎ 212 345 678", "cs", "☎ <phone>"),
        ("mobil +420 601 123 456 nebo 212", "cs", "mobil <phone> nebo 212"),
    ],
)
def test_numbers_in_running_text(text, tag, masked):
    assert mask(text, tag)[0] == masked


HARMLESS = """
1948, 2020 and 1618–1648 | 01.02.2020 | 1. 2. 2020 | 05.06.2024 12:30 | 05. 06. 2024 | 01/02/2020 | 03-05-2021
04/05/2019 - 06/07/2020 | 06.07.2020-08.09.2021 | 2020-01-02 | 02.2020 | 07:15, 08.30 | 08:00-16:00
08.00-16.00 | 09.30 - 17.30 | (08.00-16.00) | 08.00 - 12.00, 13.00 - 16.00 | 0,5 | 0.123456789 | 12,50 € | 1 000 000 Kč
212 345 678 Kč | 100.000.000 | +1 000 000 | +20 °C | −5 | 007 | 00000000 | (EU) 2016/679 | Nr. 0123/2019
Zákon č. 040/1964 Sb. | NN 05/2021 | ISBN 0-306-40615-2 | ISBN 978-0-306-40615-7 | ISBN: 0 306 40615 2 | ISSN 0317-8471
12.3.4 | § 1.2.3 | 3:16 | 10:2:4 | 5 000–10 000 | 33 1/3 | 1234 5678 | I 14 097 1 402 497 135
II 12 276 1 063 373 101
"""


@pytest.mark.parametrize("tag", TAGS)
def test_dates_prices_laws_and_books_stay(tag):
    for text in HARMLESS.replace("\n", " | ").split(" | "):
        assert mask(f"It was {text} then", tag) == (f"It was {text} then", {"email": 0, "phone": 0, "ip": 0})


def test_a_masked_text_holds_nothing_more_to_mask():
    text = "jo@x.example, +356 2100 1234 and 203.0.113.5; jo@x.example"
    masked, counts = mask(text, "mt")
    assert masked == "<email>, <phone> and <ip>; <email>"
    assert counts == {"email": 2, "phone": 1, "ip": 1}
    assert mask(masked, "mt") == (masked, {"email": 0, "phone": 0, "ip": 0})


def test_a_language_outside_the_contract_has_international_numbers_only():
    assert mask("+7 912 345-67-89 или 8 (912) 345-67-89", "ru")[0] == "<phone> или 8 (912) 345-67-89"


@pytest.mark.parametrize("piece", ["a@", "a", "1.", "a:", ":", "+", "%", "a.", "x@a.", "tel ", "<"])
def test_a_million_odd_characters_are_passed_over(piece):
    assert mask(piece * (1_000_000 // len(piece)), "de")[1]["phone"] == 0


@given(st.text(st.sampled_from("0123456789+()/.-: @aftel\n\u00a0"), max_size=60), st.sampled_from(TAGS))
@settings(max_examples=300, deadline=None)
def test_whatever_is_masked_is_counted(text, tag):
    masked, counts = mask(text, tag)
    for kind, number in counts.items():
        assert masked.count(f"<{kind}>") == number
    if not any(counts.values()):
        assert masked == text
