"""What a question asks for, how words are matched, and where a text holds an answer of a kind."""

from __future__ import annotations

import pytest

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.settings import PROJECT_ROOT
from vlm_studio.tasks.documents_followup import completed, leans_back
from vlm_studio.tasks.documents_question import understand
from vlm_studio.tasks.documents_scope import pages_of, refuse_beyond
from vlm_studio.tasks.documents_spans import spans
from vlm_studio.tasks.documents_terms import Rarity, Thesaurus, Vocabulary, number_key, root, stem

RARITY = Rarity(PROJECT_ROOT / "assets" / "words" / "words.tsv.gz")


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Who signed the letter?", "person"), ("Qui est le maire ?", "person"), ("When was it built?", "date"),
        ("Où se trouve la clé ?", "place"), ("How much does it cost?", "money"), ("Combien coûte le billet ?", "money"),
        ("How many bats were seen?", "number"), ("How long is the warranty?", "duration"),
        ("How far in advance must it be cancelled?", "duration"), ("What is the invoice number?", "code"),
        ("What is the dress code?", "what"), ("At what time does it start?", "time"), ("Why did it fail?", "why"),
        ("Is smoking allowed?", "yesno"), ("Which company built it?", "name"), ("What percentage agreed?", "percent"),
        ("What is the policy number of the insurance?", "code"), ("What is the number of the policy?", "code"),
        ("What is the number of employees?", "number"), ("Number of pages?", "number"),
        ("What happens when it rains?", "what"), ("How heavy is it?", "measure"),
    ],
)  # fmt: skip
def test_kinds_of_questions(question: str, kind: str) -> None:
    assert understand(question, RARITY).kind == kind


@pytest.mark.parametrize(
    ("kind", "text", "answer"),
    [
        ("money", "The rent is 1 300,50 € a month.", "1 300,50 €"), ("money", "It costs $2.5 million.", "$2.5 million"),
        ("date", "Signed on 3 May 2021 in Rome.", "3 May 2021"), ("date", "le 1er juillet 2022", "1er juillet 2022"),
        ("duration", "after two months' notice", "two months"), ("percent", "soit 12,5 % du total", "12,5 %"),
        ("time", "levée à 22 h 15.", "22 h 15"), ("email", "write to a.b@c.example.", "a.b@c.example"),
        ("person", "as Dr Miriam Castellan said", "Dr Miriam Castellan"), ("measure", "at 160 °C for", "160 °C"),
        ("phone", "ring 0800 555 7710 now", "0800 555 7710"), ("code", "quote WM/77214 please", "WM/77214"),
        ("code", "IBAN DE89 3704 0044 0532 0130 00 at", "DE89 3704 0044 0532 0130 00"), ("code", "LN-55-9081.", "LN-55-9081"),
        ("year", "founded in 1907 by", "1907"), ("number", "There were forty owls", "forty"),
    ],
)  # fmt: skip
def test_answers_by_their_shape(kind: str, text: str, answer: str) -> None:
    found = spans(kind, text)  # type: ignore[arg-type]
    assert max(found, key=lambda s: s.strength)
    assert answer in [text[s.start : s.stop].strip(" ,;.") for s in found]


def test_words_stand_for_each_other_by_degrees() -> None:
    words = Vocabulary(
        ["tenants", "rents", "payable", "auditor", "landlord", "1200"], Thesaurus(), read=False
    )
    assert words.alternatives("tenant")["tenants"] > words.alternatives("audited")["auditor"] > 0
    assert "landlord" in words.alternatives("owner") and "landlord" not in words.alternatives("garden")
    assert words.alternatives("1200") == {"1200": 1.0} and words.alternatives("1201") == {}
    read = Vocabulary(["gardcn", "kitchen"], Thesaurus(), read=True)
    assert set(read.alternatives("garden")) == {"gardcn"}


def test_stems_and_numbers() -> None:
    assert (
        stem("shelves") == stem("shelf")
        and stem("frozen") == stem("freezer")
        and root("livraison") == root("livrée".replace("é", "e"))
    )
    assert (
        number_key("1,200") == number_key("1 200") == number_key("1200.00") == "1200"
        and number_key("3,5") == "3.5"
    )


def test_a_follow_up_takes_what_it_lacks() -> None:
    first = understand("What was the revenue in 2020?", RARITY)
    then = understand("And in 2021?", RARITY)
    assert leans_back(then) and not leans_back(first)
    assert "revenue" in completed(then, first) and "2021" in completed(then, first)
    deposit = understand("How large is the security deposit?", RARITY)
    assert completed(understand("And the rent?", RARITY), deposit) == "How large is the rent?"
    it = understand("Who wrote it?", RARITY)
    assert (
        leans_back(it)
        and "revenue" in completed(it, first)
        and completed(it, first).startswith("Who wrote it")
    )


@pytest.mark.parametrize("wrong", ["0", "3-1", "a", "1-", "1-99999999"])
def test_page_ranges(wrong: str) -> None:
    assert pages_of("1-3, 7") == (0, 1, 2, 6) and pages_of(" ") is None
    with pytest.raises(InvalidRequest):
        pages_of(wrong)


def test_pages_that_no_document_has_are_refused_with_how_many_there_are() -> None:
    two = [("a.pdf", 3), ("b.pdf", 1)]
    for fine in (None, (2,), (2, 98)):
        refuse_beyond(fine, two)
    with pytest.raises(InvalidRequest, match=r"^a\.pdf has 3 pages\. .* pages 1-3"):
        refuse_beyond((98,), two[:1])
    with pytest.raises(InvalidRequest, match=r"^b\.pdf has 1 page\. Ask of page 1,"):
        refuse_beyond((1,), two[1:])
    with pytest.raises(InvalidRequest, match=r"^a\.pdf has 3 pages\. The other documents are no longer"):
        refuse_beyond((3, 4), two)
