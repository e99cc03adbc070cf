"""Word frequencies settle what the ink leaves open, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm_studio.reading.lexicon import Weights, WordList, spellings, weigh

WORDS = WordList(Path(__file__).resolve().parents[2] / "assets" / "words" / "words.tsv.gz")
LETTERS = ["", *"abcdefghijklmnopqrstuvwxyz "]


def frames(*columns: dict[str, float]) -> np.ndarray:
    """Natural log-probabilities of one frame for each dict; what is not named shares what is left."""
    rows = []
    for named in columns:
        row = np.full(len(LETTERS), (1 - sum(named.values())) / len(LETTERS))
        for letter, share in named.items():
            row[LETTERS.index(letter)] += share
        rows.append(np.log(np.maximum(row, 1e-12)))
    return np.array(rows)


def test_probabilities_of_all_alignments_are_summed() -> None:
    # "a" can be written as (a, a), (a, blank) or (blank, a): 0.25 each.
    found = dict(spellings(frames({"a": 0.5, "": 0.5}, {"a": 0.5, "": 0.5}), LETTERS, beam=50))
    assert np.exp(found["a"]) == pytest.approx(0.75, abs=0.02)
    assert np.exp(found[""]) == pytest.approx(0.25, abs=0.02)


def test_a_double_letter_needs_a_blank_between() -> None:
    found = dict(spellings(frames({"l": 1.0}, {"": 1.0}, {"l": 1.0}), LETTERS))
    assert max(found, key=lambda text: found[text]) == "ll"


def test_a_frequent_word_wins_a_close_call_and_loses_a_clear_one() -> None:
    close = [("ou", -0.6), ("on", -0.8)]
    assert weigh([("tke", -0.6), ("the", -0.8)], WORDS)[0][0] == "the"
    assert weigh([("tke", -0.01), ("the", -14.0)], WORDS)[0][0] == "tke"
    assert sum(share for _, share in weigh(close, WORDS)) == pytest.approx(1.0)


def test_digits_stay_digits() -> None:
    assert weigh([("l961", -0.7), ("1961", -0.9)], WORDS)[0][0] == "1961"


def test_french_accents_and_capitals_are_known() -> None:
    weights = Weights()
    assert WORDS.log_probability("École,", weights) == WORDS.log_probability("école", weights)
    assert WORDS.log_probability("éTé", weights) < WORDS.log_probability("été", weights)
    assert WORDS.log_probability("zzxq", weights) < WORDS.log_probability("maison", weights)


def test_words_near_an_unknown_one_keep_its_case_its_punctuation_and_its_known_parts() -> None:
    assert "entreprise" in WORDS.near("entaprise")
    assert "l'Entreprise," in WORDS.near("l'Entaprise,")
    assert "HOSPITALIER" in WORDS.near("PAPITALIER")
    assert all(word.startswith("(grand-") for word in WORDS.near("(grand-pèrre)"))
    assert WORDS.near("maison") == WORDS.near("1l931") == WORDS.near("xq") == WORDS.near("...") == ()


def test_the_parts_of_a_word_are_of_one_language() -> None:
    def frequent(word: str) -> float:
        return WORDS.log_probability(word, Weights())

    assert frequent("l'eau") > frequent("l'water") and frequent("d'école") > frequent("d'school")
    assert frequent("d'clock") - frequent("o'clock") < 1.0
