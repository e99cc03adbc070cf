"""Words as they are matched: folded, stemmed, with synonyms, and with a pardon for a reader's slips."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from rapidfuzz import fuzz, process

from vlm_studio.core.folding import fold
from vlm_studio.tasks.documents_synonyms import groups

EXACT, STEM, ROOT, SYNONYM, FUZZY, PREFIX = 1.0, 0.97, 0.85, 0.8, 0.8, 0.7
"""How much of a word's weight each way of matching it brings."""

_TOKEN = re.compile(r"\d+(?:[.,   ]\d{3})*(?:[.,]\d+)?|[^\W\d_]+(?:'[^\W\d_]+)?", re.UNICODE)
_PLAIN = (
    ("sses", "ss"),
    ("ies", "y"),
    ("elves", "elf"),
    ("alves", "alf"),
    ("eaves", "eaf"),
    ("aux", "al"),
    ("eaux", "eau"),
)
_ENDINGS = (
    "issements", "issement", "ifications", "ification", "ations", "ation", "itions", "ition", "ateurs", "ateur",
    "atrice", "ures", "ure", "ements", "ement", "ments", "ment", "ances", "ance", "ences", "ence", "aisons", "aison", "ages", "age", "ingly", "edly", "ables", "able",
    "ibles", "ible", "ities", "ity", "ives", "ive", "ingly", "ings", "ing", "ions", "ion", "ants", "ant", "ents",
    "ers", "eur", "euse", "ees", "ee", "als", "al", "ely", "ly", "er", "or", "ed", "es", "ir", "ez", "e", "y",
)  # fmt: skip
_IRREGULAR = {
    form: base
    for base, forms in {
        "freeze": "froze frozen freezer", "keep": "kept", "pay": "paid payable", "sell": "sold", "buy": "bought", "make": "made",
        "hold": "held", "take": "took taken", "give": "gave given", "go": "went gone", "begin": "began begun", "write": "wrote written",
        "speak": "spoke spoken speaker", "choose": "chose chosen choice", "build": "built", "send": "sent", "lend": "lent",
        "lead": "led", "meet": "met", "leave": "left", "win": "won", "fall": "fell fallen", "rise": "rose risen",
        "grow": "grew grown", "know": "knew known", "draw": "drew drawn", "drive": "drove driven", "eat": "ate eaten",
        "drink": "drank drunk", "break": "broke broken", "find": "found", "think": "thought", "teach": "taught",
        "catch": "caught", "bring": "brought", "spend": "spent", "lose": "lost loss", "run": "ran", "stand": "stood",
        "tell": "told", "say": "said", "hear": "heard", "feel": "felt", "sleep": "slept", "see": "saw seen", "come": "came",
        "become": "became", "get": "got gotten", "fly": "flew flown flight", "wear": "wore worn", "child": "children",
        "person": "people", "man": "men", "woman": "women", "foot": "feet", "life": "lives", "wife": "wives", "die": "died death",
        "refaire": "refait refaite refaits refaites refera", "faire": "fait faite faits faites", "prendre": "pris prise prises",
        "mettre": "mis mise mises", "ouvrir": "ouvert ouverte", "offrir": "offert offerte", "naitre": "ne nee", "vendre": "vendu vendue",
        "toit": "toiture", "envoyer": "envoi envoie", "boire": "boisson bu",
    }.items()
    for form in forms.split()
}  # fmt: skip
_ELISION = re.compile(r"^(?:l|d|j|m|t|s|n|c|qu|jusqu|lorsqu|puisqu)'")

STOP = frozenset(
    "a an the of in on at to for from by with and or but as is are was were be been being am do does did doing have has "
    "had having will would shall should can could may might must it its this that these those there here what which who "
    "whom whose when where why how many much long often far i you he she we they me him her us them my your his our their "
    "if then than so not no any some each per about into over under between during after before up down out off all "
    "please tell give say says said according document documents text page pages file pdf mentioned mention stated state "
    "indicated listed described specified given provided shown know find information also only just get got one ones "
    "le la les un une des du de d l en au aux et ou mais est sont etait etaient etre a ont avait avoir il elle ils elles "
    "on nous vous je tu ce cet cette ces qui que quoi quel quelle quels quelles quand comment combien pourquoi dont "
    "dans sur sous par pour avec sans se sa son ses leur leurs ne pas plus y selon faut doit peut sera seront fait faire "
    "t il-y-a ete etre avoir something somebody someone anything anyone thing things else quelque chose quelqu-un indique mentionne precise quelqu".split()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Token:
    folded: str
    start: int
    """Place of its first character in the text."""
    written: str


def tokens(text: str) -> list[Token]:
    found = []
    for match in _TOKEN.finditer(text.replace("’", "'")):
        written = match.group()
        folded = _ELISION.sub("", fold(written)).removesuffix("'s").removesuffix("s'")
        if folded[:1].isdigit():
            folded = number_key(folded)
        if folded:
            found.append(Token(folded, match.start(), written))
    return found


def number_key(text: str) -> str:
    """1,200 and 1 200 and 1200.00 are one number; 3.5 and 3,5 too."""
    bare = re.sub(r"[   ]", "", text)
    bare = re.sub(r"[.,](?=\d{3}(?:\D|$))", "", bare)
    bare = bare.replace(",", ".")
    if "." in bare:
        bare = bare.rstrip("0").rstrip(".")
    return bare.lstrip("0") or "0"


@lru_cache(100_000)
def stem(word: str) -> str:
    """Without the ending of the plural, past and gerund; irregular forms by a short list."""
    word = _IRREGULAR.get(word, word)
    for ending, instead in _PLAIN:
        if word.endswith(ending) and len(word) > len(ending) + 1:
            return word[: -len(ending)] + instead
    if word.endswith("s") and len(word) > 3 and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ing") and len(word) > 5:
        word = _undoubled(word[:-3])
    elif word.endswith("ed") and len(word) > 4:
        word = _undoubled(word[:-2])
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _undoubled(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "ls" else word


@lru_cache(100_000)
def root(word: str) -> str:
    """What words of one family share: apply, applicant and application."""
    short = stem(word)
    for ending in _ENDINGS:
        if short.endswith(ending) and len(short) - len(ending) >= 4:
            short = short[: -len(ending)]
            break
    return short[:-1] if len(short) > 4 and short[-1] in "iey" else short


class Thesaurus:
    """Stems to the stems they may stand for."""

    def __init__(self) -> None:
        self._of: dict[str, set[str]] = {}
        for group in groups():
            stems = {stem(word) for word in group}
            for word in stems:
                self._of.setdefault(word, set()).update(stems - {word})

    def of(self, word: str) -> frozenset[str]:
        """Stems that may stand in for a folded word."""
        return frozenset(self._of.get(stem(word), ()))


class Rarity:
    """How telling a word is, from its frequency in the language; names and unknown words most."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _centibels(self) -> Mapping[str, int]:
        if not self.path.exists():
            return {}
        found: dict[str, int] = {}
        for line in gzip.decompress(self.path.read_bytes()).decode().splitlines():
            word, *levels = line.split("\t")
            level = min(int(v) for v in levels if v)
            folded = fold(word) if not word.isascii() else word
            found[folded] = min(level, found.get(folded, level))
        return found

    def known(self, word: str) -> bool:
        """Whether a folded word is in the list."""
        return word in self._centibels

    def weight(self, word: str) -> float:
        """0.2 for the commonest words to 1.25 for what no list has."""
        if word[:1].isdigit():
            return 1.1
        level = self._centibels.get(word)
        return 1.25 if level is None else min(1.2, max(0.2, (level - 240) / 300))


def _same(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


class Vocabulary:
    """The words of some documents, so that those that stand for a word of a question are found at once."""

    def __init__(self, words: Iterable[str], thesaurus: Thesaurus, read: bool) -> None:
        """`words`: folded. `read`: the text comes from a reader, so that one slip in a word is pardoned."""
        self.thesaurus, self.read = thesaurus, read
        self._words = frozenset(words)
        self._stems: dict[str, list[str]] = {}
        self._roots: dict[str, list[str]] = {}
        self._beginnings: dict[str, set[str]] = {}
        self._lengths: dict[int, list[str]] = {}
        for word in self._words:
            if word[:1].isdigit():
                continue
            short = root(word)
            self._stems.setdefault(stem(word), []).append(word)
            self._roots.setdefault(short, []).append(word)
            self._beginnings.setdefault(short[:5], set()).add(short)
            self._lengths.setdefault(len(word), []).append(word)

    def alternatives(self, word: str) -> dict[str, float]:
        """The words that stand for `word` (folded), with what each brings."""
        found: dict[str, float] = {}
        if word[:1].isdigit():
            return {word: EXACT} if word in self._words else {}
        if len(word) >= 5:
            self._add_slips(word, found)
        short = root(word)
        if len(short) >= 5:
            for other in self._beginnings.get(short[:5], ()):
                shared = sum(1 for _ in itertools.takewhile(_same, zip(short, other, strict=False)))
                if shared >= 0.7 * max(len(short), len(other)):
                    # Audited and auditor: most of both words is the same.
                    found.update(dict.fromkeys(self._roots[other], PREFIX))
        for other in self.thesaurus.of(word):
            found.update(dict.fromkeys(self._stems.get(other, ()), SYNONYM))
        if len(short) >= 4:
            found.update(dict.fromkeys(self._roots.get(short, ()), ROOT))
        found.update(dict.fromkeys(self._stems.get(stem(word), ()), STEM))
        if word in self._words:
            found[word] = EXACT
        return found

    def _add_slips(self, word: str, found: dict[str, float]) -> None:
        """Words with a slip or two: any where a reader read, else only where the first letter is right."""
        for length in range(len(word) - 2, len(word) + 3):
            near = self._lengths.get(length, [])
            cutoff = 80 if self.read else 88
            for other, _, _ in process.extract(
                word, near, scorer=fuzz.ratio, score_cutoff=cutoff, limit=None
            ):
                if self.read or other[0] == word[0]:
                    found[other] = FUZZY
