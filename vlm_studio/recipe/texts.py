"""What the training lines say: prose, notes and strings that mean nothing, in English and French.

Prose comes from plain text files that the person running the recipe collects (LOG.md says which were used). Notes are made
up here. Random strings keep a reader honest: what cannot be guessed has to be read.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass
from pathlib import Path

NAMES = (
    "Emma Liam Olivia Noah Ava Lucas Mia Ethan Zoé Léa Hugo Chloé Jules Camille Théo Inès Raphaël Jérôme Hélène François "
    "Aurélie Benoît Sophie Maëlle Nathan Sarah Daniel Priya Ahmed Fatima Chen Wei Yuki Olga Ivan Björn Zoë Dvorak Nguyen "
    "Smith Johnson Brown Taylor Wilson Clark Hughes Bennett O'Connor McKay Dubois Lefèvre Moreau Girard Tremblay Gagnon "
    "Bouchard Côté Pelletier Garcia Lopez Müller Schmidt Rossi Kowalski"
).split()
ITEMS = {
    "en": "milk eggs bread butter apples cheese rice onions tea coffee flour sugar soap batteries chicken tomatoes carrots "
    "yoghurt salt pasta stamps paint nails screws light-bulbs toothpaste bananas potatoes honey oats".split(),
    "fr": "lait œufs pain beurre pommes fromage riz oignons thé café farine sucre savon piles poulet tomates carottes "
    "yaourt sel pâtes timbres peinture clous vis ampoules dentifrice bananes crème miel pâté".split(),
}
MONTHS = {
    "en": "January February March April May June July August September October November December Jan Feb Mar Sept Oct".split(),
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
}
DAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mon Tue Wed Thu Fri".split(),
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche".split(),
}
NOTES = {
    "en": (
        "Call {n} on {d} at {t}",
        "Meeting with {n}, {d} {k} {m}",
        "{m} {k}, {y}",
        "Dear {n},",
        "Thanks again for the {i}! Love, {n}",
        "- {k} {i} (${a})",
        "Total: ${a}",
        "{i}, {i}, {i} and {i}",
        "Rent due {m} {k}: £{a}",
        "Phone: {p}",
        "{n} {n} <{e}>",
        "Don't forget the {i}!",
        "To do: buy {i}; ring {n}; {t} dentist",
        "{k}. {n} owes me ${a}",
        "{k} {n} Street, Apt. {k}",
        "Ref. {r} / Room {k}B",
        "Q: why did {n} say {k}%?",
        "I'll be back by {t}. - {n}",
        'See p. {k}-{k}: "{i} & {i}"',
        "* {i} x{k} @ {a}",
    ),
    "fr": (
        "Appeler {n} {d} à {t}",
        "Réunion avec {n}, {d} {k} {m}",
        "le {k} {m} {y}",
        "Chère {n},",
        "Merci encore pour le {i} ! Bises, {n}",
        "- {k} {i} ({a} €)",
        "Total : {a} €",
        "{i}, {i}, {i} et {i}",
        "Loyer dû le {k} {m} : {a} €",
        "Tél. : {p}",
        "{n} {n}, {e}",
        "N'oublie pas le {i} !",
        "À faire : acheter {i} ; voir {n} ; {t} dentiste",
        "{k}, rue {n}, {y}0 Québec",
        "Réf. {r}, n° {k}",
        "Où est le {i} de {n} ? Là-bas, peut-être.",
        "Ça coûte {a} $, déjà payé à {n}",
    ),
}


def _fill(note: str, language: str, rng: random.Random) -> str:
    """A note with every placeholder filled on its own."""
    makers = {
        "{n}": lambda: rng.choice(NAMES),
        "{i}": lambda: rng.choice(ITEMS[language]),
        "{m}": lambda: rng.choice(MONTHS[language]),
        "{d}": lambda: rng.choice(DAYS[language]),
        "{k}": lambda: str(rng.randint(1, rng.choice((9, 31, 250)))),
        "{y}": lambda: str(rng.randint(1890, 2030)),
        "{a}": lambda: f"{rng.uniform(1, rng.choice((20, 900, 9000))):,.2f}",
        "{t}": lambda: f"{rng.randint(1, 12)}:{rng.randint(0, 59):02d}" + rng.choice(("", " pm", "am")),
        "{p}": lambda: f"{rng.randint(200, 999)}-{rng.randint(100, 999)}-{rng.randint(0, 9999):04d}",
        "{e}": lambda: (
            f"{rng.choice(NAMES).lower()}{rng.randint(1, 99)}@{rng.choice(('mail.com', 'post.fr', 'uni.edu'))}"
        ),
        "{r}": lambda: "".join(rng.choices(string.ascii_uppercase + string.digits, k=rng.randint(4, 9))),
    }
    for mark, make in makers.items():
        while mark in note:
            note = note.replace(mark, make(), 1)
    return note


def _random_string(rng: random.Random) -> str:
    """Words of letters, digits and signs that no language has."""
    words = []
    for _ in range(rng.randint(1, 5)):
        pool = rng.choice(
            (
                string.ascii_lowercase,
                string.ascii_letters,
                string.digits,
                string.ascii_letters + string.digits,
            )
        )
        words.append(
            "".join(rng.choices(pool, k=rng.randint(2, 9)))
            + rng.choice(("", "", "", ",", ".", ":", "!", "?", ")", "/"))
        )
    return " ".join(words)


@dataclass(frozen=True)
class Texts:
    """Sources of line texts, per language "en" and "fr"."""

    prose: dict[str, list[str]]
    words: dict[str, list[str]]

    def line(self, language: str, rng: random.Random) -> str:
        """One line of 1 to about 65 characters."""
        kind = rng.random()
        if kind < 0.55 and self.prose[language]:
            text = self._piece(rng.choice(self.prose[language]), rng)
        elif kind < 0.68 and self.words[language]:
            text = " ".join(rng.choice(self.words[language]) for _ in range(rng.randint(1, 7)))
        elif kind < 0.92:
            text = _fill(rng.choice(NOTES[language]), language, rng)
        else:
            text = _random_string(rng)
        case = rng.random()
        if case < 0.05:
            text = text.upper()
        elif case < 0.10:
            text = text.title()
        return text[:70].strip()

    @staticmethod
    def _piece(text: str, rng: random.Random) -> str:
        """A run of whole words of `text`, short ones as likely as long ones."""
        words = text.split()
        wanted = rng.randint(8, 62)
        start = rng.randrange(max(1, len(words) - 2)) if rng.random() < 0.6 else 0
        piece = words[start]
        for word in words[start + 1 :]:
            if len(piece) + len(word) >= wanted:
                break
            piece += " " + word
        return piece


def load_texts(folder: Path) -> Texts:
    """`en.txt`, `fr.txt` (one line of prose each) and `en.words`, `fr.words` of `folder`; what is missing stays empty."""

    def lines(name: str) -> list[str]:
        file = folder / name
        return (
            [line for line in file.read_text("utf-8").splitlines() if line.strip()] if file.exists() else []
        )

    return Texts({k: lines(f"{k}.txt") for k in ("en", "fr")}, {k: lines(f"{k}.words") for k in ("en", "fr")})
