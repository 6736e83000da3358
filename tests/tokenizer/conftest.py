"""A tokenizer learnt from the parallel text of all languages, in a second."""

import pytest
from tokenizer_texts import PARALLEL
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from openeurollm.tokenizer import SPECIAL
from openeurollm.tokenizer.pretokenizer import PATTERN


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The path of its `tokenizer.json`."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator((path.read_text("utf-8") for path in sorted(PARALLEL.glob("*.txt"))), trainer)
    path = tmp_path_factory.mktemp("small") / "tokenizer.json"
    made.save(str(path))
    return path
