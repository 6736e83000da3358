"""The chat template, as transformers renders it, is what tuning learns from."""

import numpy as np
import pytest
from tokenizers import Tokenizer

from openeurollm.model.tuning import example

CONVERSATIONS = [
    [{"role": "user", "content": "X'inhi l-belt kapitali?"}, {"role": "assistant", "content": "Il-Belt Valletta."}],
    [
        {"role": "system", "content": "Απάντησε σύντομα."},
        {"role": "user", "content": "Ποια είναι η πρωτεύουσα;"},
        {"role": "assistant", "content": "Η Αθήνα."},
        {"role": "user", "content": "Και πού είναι;"},
        {"role": "assistant", "content": "Στην Αττική.\n"},
    ],
]


@pytest.fixture(scope="module")
def theirs(tiny):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.run.folder("tuning"))


@pytest.fixture(scope="module")
def ours(tiny):
    tokenizer = Tokenizer.from_file(str(tiny.run.folder("tokenizer") / "tokenizer.json"))
    tokenizer.encode_special_tokens = True
    return tokenizer


def test_a_conversation_is_rendered_turn_by_turn(theirs):
    text = theirs.apply_chat_template(CONVERSATIONS[0], tokenize=False)
    assert text == (
        "<|im_start|>user\nX'inhi l-belt kapitali?<|im_end|>\n<|im_start|>assistant\nIl-Belt Valletta.<|im_end|>\n"
    )


def test_a_question_ends_where_the_answer_begins(theirs):
    text = theirs.apply_chat_template(CONVERSATIONS[0][:1], tokenize=False, add_generation_prompt=True)
    assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("messages", CONVERSATIONS, ids=["one question", "system and two questions"])
def test_transformers_sees_the_ids_and_the_mask_that_we_learn_from(theirs, ours, messages):
    told = theirs.apply_chat_template(messages, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    ids, targets = example(messages, ours)
    assert told["input_ids"] == ids.tolist()
    assert told["assistant_masks"] == (targets != -100).astype(int).tolist()
    assert np.array_equal(targets[targets != -100], ids[targets != -100])


def test_the_special_tokens_are_known_to_transformers(theirs):
    assert (theirs.eos_token_id, theirs.pad_token_id) == (0, 3)
    assert theirs("<|im_start|>x<|im_end|>")["input_ids"][0] == 1
    assert theirs("<|im_start|>x<|im_end|>")["input_ids"][-1] == 2
    text = "L-ewwel , it-tieni ! Don't — x"
    assert theirs.decode(theirs(text)["input_ids"]) == text
