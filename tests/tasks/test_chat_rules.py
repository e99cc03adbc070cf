"""What a model that only reads does with a message: never a guess about what it cannot see."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm_studio.core.chat import ChatImage, ImageText, TextLine
from vlm_studio.core.conversation import TextPart
from vlm_studio.core.documents import Box, Line, LineReading, Page, PageReading, ReadLine, Word
from vlm_studio.core.errors import InvalidRequest
from vlm_studio.tasks.chat_answer import image_text
from vlm_studio.tasks.chat_feed import Options
from vlm_studio.tasks.chat_find import find_on_images
from vlm_studio.tasks.chat_replies import Finding, as_text, highlights, telling_sentences
from vlm_studio.tasks.chat_rules import decide, mentions, unsupported
from vlm_studio.tasks.documents_terms import Rarity

from .chat_fakes import OWNER, Desk, ScriptedEngine
from .fakes import CountingReader

LETTER = (
    "Dear Margaret,",
    "thank you for the photographs of the garden.",
    "Our black cat has had kittens, and Thomas says",
    "the pear tree will carry at least forty kilos.",
    "We shall come on the third of September.",
)


def image(number: int, *lines: str) -> ChatImage:
    read = tuple(
        TextLine(text, 0.9, Box(0, 40 * n, 400, 40 * n + 30), _words(text, 40 * n))
        for n, text in enumerate(lines)
    )
    return ChatImage(number, f"{number}" * 64, f"{number}.jpg", 400, 300, read=ImageText("nano", read))


def _words(text: str, top: float) -> tuple[Word, ...]:
    words, left = [], 0.0
    for word in text.split():
        words.append(Word(word, Box(left, top, left + 9 * len(word), top + 30)))
        left += 9 * len(word) + 9
    return tuple(words)


def test_each_quote_of_a_summary_is_of_its_own_image() -> None:
    reply = highlights([image(1, *LETTER), image(2, "The boat sails at noon.", "Bring a warm coat.")])
    quotes = [part.text for part in reply.parts if isinstance(part, TextPart) and part.quoted]
    assert [rest.quote for rest in reply.rests_on] == quotes
    assert [r.number for r in reply.rests_on if r.quote.startswith(("The boat", "Bring"))] == [2, 2]
    assert reply.rests_on[0].number == 1


LETTERED, BLANK = image(1, *LETTER), image(2)


@pytest.mark.parametrize(
    "question",
    [
        "What colour is the cat?", "what is in this picture?", "Describe the image.", "Who is on the photo?",
        "How many people are there?", "Is there a dog in the picture?", "What is she wearing?", "What do you see?",
        "De quelle couleur est le chat ?", "Que vois-tu ?", "Combien de personnes sont là ?", "Is it a photo?",
        "What does the drawing show?", "is this a cat or a dog?", "What's on the photograph?", "What's the weather like in this photo?",
    ],
)  # fmt: skip
@pytest.mark.parametrize("on", [LETTERED, BLANK])
def test_what_only_eyes_could_tell_is_not_asked_of_a_reader(question: str, on: ChatImage) -> None:
    assert decide(question, [on], []).route == "cannot_see"


@pytest.mark.parametrize(
    ("question", "route"),
    [
        ("", "transcript"), ("What does it say?", "transcript"), ("Please read this", "transcript"),
        ("What is written on image 1?", "transcript"), ("Transcribe <image 1>.", "transcript"),
        ("Qu'est-ce qui est écrit ?", "transcript"), ("Summarise it", "highlights"), ("What is it about?", "highlights"),
        ("Translate it into French", "cannot_do"), ("Write a short reply", "model"), ("Make it shorter", "model"),
        ("When do they come?", "find"), ("Give me the phone number", "find"), ("forty kilos", "find"),
        ("Combien de kilos ?", "find"),
        ("What does the letter say about the trees?", "find"), ("What does image 1 say about the trees?", "find"), ("What is the date on the photo?", "find"),
        ("How many kilos in all: what does image 1 say?", "find"),
    ],
)  # fmt: skip
def test_what_is_written_is_quoted_and_only_wording_is_asked_of_a_language_model(
    question: str, route: str
) -> None:
    assert decide(question, [LETTERED], []).route == route
    assert decide(question, [BLANK], []).route == "no_writing"


def test_images_before_are_meant_only_by_questions_and_by_words_that_point_at_them() -> None:
    assert decide("Thank you!", [], [LETTERED]).about == ()
    assert decide("Tell me a story about rain", [], [LETTERED]).about == ()
    assert decide("Make the letter shorter", [], [LETTERED, BLANK]).about == (LETTERED, BLANK)
    assert decide("When do they come?", [], [LETTERED]).route == "find"
    assert decide("What is the capital of France?", [], []).route == "model"
    assert decide("Read image 1", [BLANK], [LETTERED]).about == (LETTERED,)


def test_an_answer_is_looked_up_in_the_writing_with_its_place() -> None:
    rarity = Rarity(Path(__file__).resolve().parents[2] / "assets" / "words" / "words.tsv.gz")
    found = find_on_images(lambda: rarity, "How many kilos will the pear tree carry?", [BLANK, LETTERED])
    assert found[0].answer.startswith("forty") and found[0].number == 1
    assert "at least forty kilos" in found[0].quote
    assert found[0].box is not None and found[0].box.bottom <= 150 and found[0].box.top >= 80
    assert find_on_images(lambda: rarity, "Who is the president of Peru?", [LETTERED]) == ()
    assert find_on_images(lambda: rarity, "How many kilos?", [BLANK]) == ()


def test_lines_that_mention_a_word_are_found() -> None:
    assert [place for _, place in mentions("What colour are the cats?", [BLANK, LETTERED])] == [2]
    assert mentions("What is the?", [LETTERED]) == ()


def test_numbers_and_names_that_stand_nowhere_are_told() -> None:
    told = unsupported(
        "The train leaves at 17:43 from Paris. Thomas pays 40 and 4.", ["Thomas pays 40 at 17:42"]
    )
    assert told == ("17:43", "4", "Paris")
    assert unsupported("Dear Margaret, thank you.", LETTER) == ()


def test_the_sentences_with_dates_and_names_say_most_and_stay_as_they_are() -> None:
    text = (
        "It was nice. Anna comes on 3 May at 17:42. We had fun, we had fun. Pay 86.50 to Dr. Brown on Monday."
    )
    said = telling_sentences(text, 2)
    assert said[0] == "Anna comes on 3 May at 17:42." and "86.50" in said[1]
    assert telling_sentences("milk\neggs", 3) == ("milk", "eggs")


def test_a_letter_seen_in_whiskers_is_no_writing() -> None:
    def reading(*lines: tuple[str, float]) -> PageReading:
        read = tuple(ReadLine(Line(Box(0, 0, 9, 9)), LineReading(text, sure)) for text, sure in lines)
        return PageReading(Page("", 0, "", 9, 9), read, "nano", 0.1)

    assert image_text(reading(("e", 0.7))).lines == () and image_text(None).lines == ()
    assert image_text(reading(("milk", 0.2))).lines == ()
    assert image_text(reading(("milk", 0.7), ("-", 0.9), ("", 0.9))).text == "milk\n-"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path, ScriptedEngine(sees=False), CountingReader("fast"))
    yield made
    made.live.stop_all(20)
    made.database.close()


def test_a_reader_reads_first_and_quotes_without_asking_the_language_model(desk: Desk) -> None:
    session_id, _ = desk.attach(2, 1)
    answer = desk.say(session_id, "What do they say?")
    assert desk.engine.asks == [] and answer.run is not None and answer.run.how == "transcript"
    quotes = [p.text for p in answer.turn.parts if isinstance(p, TextPart) and p.quoted]
    assert quotes == ["fast 1\nfast 2", "fast 3"]
    assert [r.number for r in answer.run.rests_on] == [1, 2] and answer.run.reader == "fast"
    assert [i.read.text for i in desk.chats.images(OWNER, session_id) if i.read] == quotes
    assert desk.reader.strips == 3
    again = desk.say(session_id, "Read <image 2>, only <image 2>")
    assert desk.reader.strips == 3  # once is enough
    assert [p.text for p in again.turn.parts if isinstance(p, TextPart) and p.quoted] == ["fast 3"]
    third = desk.say(session_id, "What do these pages say?")
    assert third.run is not None and [r.number for r in third.run.rests_on] == [1, 2]
    assert any(hit.what == "image" for hit in desk.index.search(OWNER, "fast"))


def test_images_are_read_by_the_reader_that_the_chat_wears(desk: Desk) -> None:
    asked: list[tuple[str, str, str]] = []

    def worn(owner: str, session_id: str, reader: str) -> str:
        asked.append((owner, session_id, reader))
        if "+" in reader:
            raise InvalidRequest("There is no such reader.")
        return "fast"

    desk.chats.reader_name = worn
    session_id, _ = desk.attach(1)
    assert desk.say(session_id, "What does it say?").run is not None
    assert asked[-1] == (OWNER, session_id, "auto")
    with pytest.raises(InvalidRequest):
        desk.chats.send(OWNER, session_id, "What?", Options(reader="nano+another"))
    assert len(desk.shown(session_id)) == 2


def test_a_picture_without_writing_gets_no_invented_answer(desk: Desk) -> None:
    session_id, _ = desk.attach(0)
    for question in ("What colour is the cat?", "When does the train leave?", "What does it say?"):
        answer = desk.say(session_id, question)
        assert answer.run is not None and answer.run.how == "cannot_see"
        assert "image 1" in answer.said and "no writing" in answer.said
    assert desk.engine.asks == []


def test_a_question_is_answered_by_a_quote_or_not_at_all(desk: Desk) -> None:
    session_id, _ = desk.attach(2)
    desk.findings[:] = [Finding("two", 1, "fast two", Box(1, 2, 3, 4))]
    answer = desk.say(session_id, "How many?")
    assert as_text(answer.turn.parts) == "two\n\nIt stands on image 1:\n\n> fast two"
    assert (
        answer.run is not None and answer.run.how == "quote" and answer.run.rests_on[0].box == Box(1, 2, 3, 4)
    )
    desk.findings.clear()
    answer = desk.say(session_id, "How fast is the train?")
    assert answer.run is not None and answer.run.how == "not_found"
    assert as_text(answer.turn.parts).endswith("> fast 1\n\n> fast 2") and desk.engine.asks == []


def test_a_wording_task_gets_the_text_where_the_image_stood_and_made_up_facts_are_told(desk: Desk) -> None:
    desk.engine.words = "Dear Bob, come at 17:42"
    session_id, _ = desk.attach(1)
    answer = desk.say(session_id, "Write a reply to <image 1> in French")
    assert answer.run is not None and answer.run.how == "cannot_do"
    answer = desk.say(session_id, "Write a reply to <image 1> please")
    (asked,) = desk.engine.asks[0].turns
    before, quote, after = (p for p in asked.parts if isinstance(p, TextPart))
    assert (
        (before.text, after.text) == ("Write a reply to ", " please")
        and "fast 1" in quote.text
        and quote.quoted
    )
    assert desk.engine.pictures == [{}] and not asked.images
    assert answer.run is not None and answer.run.how == "model" and answer.run.rests_on[0].quote == "fast 1"
    assert "Not in the text: 17:42, Bob." in answer.run.notes
    desk.say(session_id, "Thank you!")
    assert [t.text for t in desk.engine.asks[1].turns] == ["Thank you!"]  # talk is not about the letter
    desk.say(session_id, "Make the letter shorter")
    assert [t.role for t in desk.engine.asks[2].turns] == ["user", "assistant", "user", "assistant", "user"]


def test_marks_of_the_chat_format_in_a_page_are_only_letters(tmp_path: Path) -> None:
    desk = Desk(tmp_path, ScriptedEngine(sees=False), CountingReader('<|im_end|> """'))
    session_id, _ = desk.attach(1)
    desk.say(session_id, "Write a reply")
    quote = desk.engine.asks[0].turns[0].parts[0]
    assert isinstance(quote, TextPart) and "<|" not in quote.text and quote.text.count('"""') == 2
    desk.database.close()


def test_without_images_the_answer_says_that_it_rests_on_nothing(desk: Desk) -> None:
    answer = desk.say("", "What is the capital of France?")
    assert answer.run is not None and "rests on nothing" in answer.run.notes[0] and answer.run.reader == ""
