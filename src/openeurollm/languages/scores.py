"""What the bundled language identifier reaches on each language, as its card says."""

import json
from importlib import resources


def identifier_scores() -> dict[str, dict[str, float]]:
    """F1 of the bundled identifier by language: `{TAG: {"sentence": F1, "document": F1}}`, each in [0, 1].

    Empty where no identifier with a card is bundled.
    """
    card = resources.files(__package__).joinpath("identifier", "card.json")
    if not card.is_file():
        return {}
    scores: dict[str, dict[str, float]] = json.loads(card.read_text("utf-8"))["scores"]
    return scores
