"""What a model that only reads writing does with a message about images: decided by rule, before it is asked.

Such a model would describe a cat that it cannot see. So questions about looks are refused, questions about what
is written are answered with the writing itself, and the language model is asked only to put things into words.
English and French.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.chat import ChatImage
from vlm_studio.core.folding import fold

Route = Literal["cannot_see", "no_writing", "cannot_do", "transcript", "highlights", "find", "model"]
"""`find` answers with what is written, or says that it is not there."""

_SIGHT = (
    r"colou?rs?|couleurs?|black and white|en noir et blanc",
    r"(what|who)('s| is| are| can be seen)( shown| visible| happening)? (in|on|at)\b.*\b(picture|photo|image|drawing)",
    r"(what|who)('s| is| are) (this|that|these|it|the|in this) (picture|photo|drawing|painting)|(picture|photo) of",
    r"(what|who) (do|can) you see|que (vois|voyez)|qu'est-ce que (tu|vous) (vois|voyez)|qui (est|sont) (sur|dans)",
    r"describe|décri(s|vez|re)|caption|légende",
    r"look(s|ing)? like|ressemble|wear(s|ing)?|porte-t|smil(e|es|ing)|faces?|visages?|mood|emotions?|humeur",
    r"(cat|dog|animal|bird|person|people|man|woman|child|children|tree|car|building|flower|house)s?\b.*\b"
    r"(do(es)? it|doing|sit|sitting|standing|in the (picture|photo|image)|on the (picture|photo|image))",
    r"is (there|it|this) (a|an|any) (cat|dog|animal|bird|person|man|woman|child|tree|car|building|photo|drawing)",
    r"how many (cats?|dogs?|animals?|birds?|people|persons|men|women|children|trees|cars|faces|objects)",
    r"combien de (chats?|chiens?|personnes|gens|hommes|femmes|enfants|arbres|voitures|objets)",
    r"background|foreground|arrière-plan|weather|météo|indoors?|outdoors?|where was (this|it) (taken|shot)",
    r"(draw|sketch|diagram|chart|graph|logo|stamp|signature)(s|ing|ings)?\b.*\b(show|mean|look|represent)",
    r"handwriting (style|beautiful|neat|old)|(male|female|left-handed|right-handed) writer|how old is the writer",
)
_ALL = (
    r"^\W*(\w+\W+){0,3}what (does|do) (it|this|that|they|these|the \w+|image \d+|<image \d+>) (\w+ )?says?\b"
    r"(?!\W+(about|on|of|to|regarding)\b)",
    r"what('s| is| stands?)\b.*\b(written|it say)|que dit|qu'est-ce qui est écrit|qu'y a-t-il d'écrit",
    r"^\W*(please |can you |could you )*(read|transcribe|copy|lis|lisez|transcri(s|vez)|recopi(e|ez))\b",
    r"(full|whole|entire|complete) text|tout le texte|(read|spell) (it|this|them|everything|all) out",
)
_HIGHLIGHTS = (
    r"summar|résum|in (one|two|a few) (sentence|word)|tl;?dr|gist|main (idea|point|thing)|important|key (point|fact)",
    r"what('s| is| are) (it|this|that|they|these|the (letter|note|text|page)s?) (all )?about|de quoi (parle|s'agit)",
)
_TRANSLATE = (
    r"\btranslat|\btradui|\b(in|into|en) (french|english|german|spanish|français|anglais|allemand)\b",
)
_WORDING = (
    r"shorten|shorter|rewrite|re-write|rephrase|reformul|paraphras|proofread|improve|correct (the|its|my)",
    r"(write|draft|compose|rédige|écris)\b|reply|répon(d|se)|answer (this|the|her|his|their) (letter|note|mail)",
    r"\b(story|poem|joke|histoire|poème|blague)\b|explain|expli(que|quer)|title for|un titre|turn (this|it|them) into|make (a|an|it|this) ",
)
_QUESTION = (
    r"\?\s*$",
    r"^\W*(and |et |so |but )?(who|whom|whose|what|which|when|where|why|how|is|are|was|were|does|do|did|has|have|"
    r"give|tell|show|list|name|find|search|look for|qui|que|quel|quelle|quels|quelles|quand|où|combien|comment|pourquoi|est-ce|cherche|trouve)\b",
)
_POINTING = (
    r"\b(image|picture|photo|photograph|page|letter|note|notes|text|writing|document|line|card|receipt|list)s?\b",
    r"\b(lettre|texte|écriture|ligne|carte|liste)s?\b",
    r"\b(it|this|these|that|those|there|here|ici|ça|cela|ceci|he|she|they|his|her|their)\b",
)
_NUMBERED = re.compile(r"\b(?:image|picture|photo|page|letter|note)\s*#?\s*(\d{1,6})\b", re.IGNORECASE)


def _any(patterns: Sequence[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{p})" for p in patterns), re.IGNORECASE)


_IS_SIGHT, _IS_ALL, _IS_QUESTION, _IS_POINTING = _any(_SIGHT), _any(_ALL), _any(_QUESTION), _any(_POINTING)
_IS_WORDING = _any(_WORDING)
_ROUTES: tuple[tuple[re.Pattern[str], Route], ...] = (
    (_any(_TRANSLATE), "cannot_do"),
    (_any(_HIGHLIGHTS), "highlights"),
    (_IS_WORDING, "model"),
)
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"\d+(?:[.,:/]\d+)*")
_NAME = re.compile(r"(?<![.!?:\n\"“] )(?<!^)\b[A-ZÀ-Þ][\w'’-]{2,}")
_COMMON = frozenset(
    "the a an is are was of in on at to and or it this that what which who how many does do did image picture photo "
    "le la les un une des est sont de du dans sur et ou ce cette que qui quel quelle combien colour color couleur".split()
)


@dataclass(frozen=True, slots=True)
class Decision:
    route: Route
    about: tuple[ChatImage, ...] = ()
    """The images that the message is about, by number."""


def decide(question: str, fresh: Sequence[ChatImage], earlier: Sequence[ChatImage]) -> Decision:
    """What to do with a message; `fresh` images came with it, `earlier` ones stand before it. All were read.

    Where images are on the table, only what has to be put into words goes to the language model: it would answer
    anything else too, and make it up.
    """
    about = tuple(sorted(_meant(question, fresh, earlier), key=lambda image: image.number))
    words = question.strip()
    pointing = bool(fresh) or bool(_IS_POINTING.search(words))
    if not about or not (pointing or _IS_QUESTION.search(words)):
        return Decision("model")
    if not pointing and _IS_WORDING.search(words):
        return Decision("model")
    if pointing and _IS_SIGHT.search(words) and not _IS_ALL.search(words):
        return Decision("cannot_see", about)
    if not any(image.read and image.read.lines for image in about):
        return Decision("no_writing", about)
    if not words or _IS_ALL.search(words):
        return Decision("transcript", about)
    return next(
        (Decision(r, about) for pattern, r in _ROUTES if pattern.search(words)), Decision("find", about)
    )


def _meant(question: str, fresh: Sequence[ChatImage], earlier: Sequence[ChatImage]) -> tuple[ChatImage, ...]:
    every = {image.number: image for image in (*earlier, *fresh)}
    named = [every[n] for n in map(int, _NUMBERED.findall(question)) if n in every]
    return tuple(dict.fromkeys(named)) or tuple(fresh) or tuple(earlier)


def mentions(question: str, images: Sequence[ChatImage]) -> tuple[tuple[ChatImage, int], ...]:
    """(image, line) where the writing has a word of the question: what can be said about something unseen."""
    wanted = {_stem(w) for w in _WORD.findall(fold(question)) if len(w) > 2} - _COMMON
    return tuple(
        (image, place)
        for image in images
        for place, line in enumerate(image.read.lines if image.read else ())
        if wanted & {_stem(w) for w in _WORD.findall(fold(line.text))}
    )


def unsupported(answer: str, sources: Sequence[str]) -> tuple[str, ...]:
    """Numbers and names of an answer that stand in none of the sources: a small model makes them up."""
    known = fold(" ".join(sources))
    numbers = [n for n in _NUMBER.findall(answer) if not re.search(rf"(?<!\d){re.escape(n)}(?!\d)", known)]
    names = [n for n in _NAME.findall(answer) if fold(n) not in known]
    return tuple(dict.fromkeys((*numbers, *names)))


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
