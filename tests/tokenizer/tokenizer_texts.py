"""Texts on which tokenizers must agree."""

from pathlib import Path

from hypothesis import strategies as st

from openeurollm.tokenizer import SPECIAL

PARALLEL = Path(__file__).resolve().parents[2] / "sample" / "parallel"

BLOCKS = (*range(0, 0x34000, 0x400), 0xE0000, 0xF0000, 0x10FC00)
"""Where 1,024 characters begin each: all that are assigned, and some that never will be."""

TEXTS = st.one_of(
    st.text(max_size=60),
    st.text("ab'’·‑- .,()1²½\t\n\r\u00a0\u0301żόᲐаё🙂/<|>", max_size=60),
    st.lists(st.sampled_from([*SPECIAL, "l’eau", "L-Unjoni", "  ", "\n \n", "123456", "ქართული", "x" * 70])).map(
        "".join
    ),
    st.binary(max_size=60).map(lambda raw: raw.decode("utf-8", "replace")),
)
"""Any text, text of what the pattern tells apart, and text with control tokens written out."""
