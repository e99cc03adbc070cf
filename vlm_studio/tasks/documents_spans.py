"""Where a text holds an answer of a kind: amounts, dates, durations, names, addresses. English and French."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from vlm_studio.core.folding import fold
from vlm_studio.tasks.documents_question import Kind
from vlm_studio.tasks.documents_terms import STOP

_NUM = r"\d+(?:[.,\u00a0\u202f ]\d{3})*(?:[.,]\d+)?"
_WORDS = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|"
    r"nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|dozen|half|an?|un|une|deux|trois|quatre|"
    r"cinq|sept|huit|neuf|dix|onze|douze|treize|quatorze|quinze|seize|vingt|trente|quarante|cinquante|soixante|cent|mille|"
    r"twenty-\w+|thirty-\w+|forty-\w+|fifty-\w+)"
)
_COUNT_WORDS = _WORDS.replace("half|an?|un|une|", "")
_ANY = rf"(?:{_NUM}|{_WORDS})"
_MONTH = (
    r"(?:jan(?:uary|vier|v)?|feb(?:ruary)?|f[ée]v(?:rier)?|mar(?:ch|s)?|apr(?:il)?|avr(?:il)?|may|mai|june?|juin|july?|juil(?:let)?|"
    r"aug(?:ust)?|ao[uû]t|sept?(?:ember|embre)?|oct(?:ober|obre)?|nov(?:ember|embre)?|d[eé]c(?:ember|embre)?)\.?"
)
_WEEKDAY = r"(?:(?:mon|tues|wednes|thurs|fri|satur|sun)days?|lundis?|mardis?|mercredis?|jeudis?|vendredis?|samedis?|dimanches?)"
_YEAR = r"(?:1[0-9]|20|21)\d{2}"
_UNITS = (
    r"(?:°\s?[CF]|degrees(?: celsius| fahrenheit)?|degr[ée]s|mm²?|cm[²³]?|km/h|km²?|m/s|m[²³]|ml|cl|dl|mg|µg|kg|kWh|kW|mW|MW|W|kV|V|mAh|Ah|A|"
    r"kHz|MHz|GHz|Hz|mph|miles?|feet|foot|ft|inch(?:es)?|in|yards?|litres?|liters?|l|L|grams?|grammes?|g|tonnes?|tons?|lbs?|pounds|"
    r"ounces?|oz|hectares?|ha|acres?|bars?|psi|kPa|hPa|Pa|dB|GB|MB|KB|TB|Go|Mo|dpi|pixels?|cups?|tablespoons?|teaspoons?|tbsp|tsp|"
    r"metres?|meters?|m[èe]tres?|kilom[eè]tres?|kilometers?|kilograms?|centim[eè]tres?|millim[eè]tres?|watts?|volts?|"
    r"cuill[eè]res?(?: à (?:soupe|caf[eé]))?|rpm|tr/min|lumens?|lux|m)(?![\w])"
)
_TIME_UNITS = (
    r"(?:seconds?|secs?|minutes?|mins?|min|hours?|hrs?|days?|nights?|weeks?|months?|years?|decades?|quarters?|terms?|semesters?|"
    r"secondes?|heures?|jours?|semaines?|mois|ann[ée]es?|ans?|trimestres?|semestres?|nuits?|h)(?![\w])"
)
_COLOURS = (
    r"(?:red|orange|yellow|green|blue|purple|violet|pink|brown|black|white|gr[ae]y|beige|turquoise|gold(?:en)?|silver|ivory|"
    r"cream|navy|crimson|scarlet|rouges?|jaunes?|vert(?:e|es|s)?|bleu(?:e|es|s)?|roses?|brun(?:e|es|s)?|marron|noir(?:e|es|s)?|"
    r"blanc(?:he|hes|s)?|gris(?:e|es)?|dorée?s?|argentée?s?)"
)
_CAP = r"[A-ZÀ-ÖØ-Þ][\w'’-]*[\w]\.?|[A-Z]\."
_NAME = rf"(?:(?:{_CAP})(?:\s+(?:(?:de|du|des|la|le|van|von|der|den|di|da|bin|al|of|the|and|&)\s+){{0,2}}(?:{_CAP})){{0,5}})"
_TITLE = r"(?:Mr|Mrs|Ms|Miss|Dr|Prof|Professor|Sir|Madame|Monsieur|Mme|Mlle|M|Me|Maître|Captain|Judge|Doctor|Docteur)\.?"


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    stop: int
    strength: float
    """0..1: how surely it is of its kind."""


def _compiled(*rules: tuple[float, str]) -> tuple[tuple[float, re.Pattern[str]], ...]:
    return tuple((strength, re.compile(pattern, re.IGNORECASE)) for strength, pattern in rules)


_SCALE = r"(?:\s?(?:k|m|bn|million|billion|thousand|millions?|milliards?|mille)\b)?"
_DATES = (
    (1.0, rf"\b(?:{_WEEKDAY},?\s+(?:le\s+)?)?(?:the\s+)?\d{{1,2}}(?:st|nd|rd|th|er)?(?:\s+of)?\s+{_MONTH},?\s+{_YEAR}\b"),
    (1.0, rf"\b(?:{_WEEKDAY},?\s+)?{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?,?\s+{_YEAR}\b"),
    (1.0, r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}[/.]\d{1,2}[/.](?:\d{4}|\d{2})\b"),
    (0.9, rf"\b(?:{_WEEKDAY},?\s+(?:le\s+)?)?(?:the\s+)?\d{{1,2}}(?:st|nd|rd|th|er)?(?:\s+of)?\s+{_MONTH}(?![\w])"),
    (0.9, rf"\b(?:{_WEEKDAY},?\s+)?{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?!\s?[:%])"),
    (0.85, rf"\b(?:early |late |mid-)?{_MONTH}\s+{_YEAR}\b"),
    (0.7, rf"\b(?:between |from |in |since |en )?{_YEAR}(?:\s?[-–]\s?\d{{2,4}})?\b"),
    (0.95, rf"\b(?:the\s)?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|\w+teenth|twentieth|twenty-\w+|thirtieth|thirty-first|premier)\s(?:of\s)?{_MONTH}(?![\w])(?:\s{_YEAR})?"),
    (0.85, r"\b(?:the\s)?\d{1,2}(?:st|nd|rd|th)(?:\s(?:day\s)?of\s(?:each|every|the)\s\w+)?\b|\ble \d{1,2}(?:er)? (?:de chaque mois|du mois)"),
    (0.7, r"\b(?:first|second|third|fourth|fifth|last|premier|dernier)\s(?:day|week|quarter|half|working day|jour|trimestre)(?:\s(?:of|de|du)\s(?:each\s|every\s|the\s|chaque\s)?\w+)?\b"),
    (0.6, rf"\b(?:every |each |on |chaque |le |les )?(?:first |second |last |premier |dernier )?{_WEEKDAY}\b"),
    (0.5, r"\b(?:january|february|march|april|june|july|august|september|october|november|december|janvier|février|avril|juin|juillet|août|septembre|octobre|novembre|décembre|spring|summer|autumn|winter|printemps|été|automne|hiver|easter|christmas|noël|tomorrow|today|yesterday)\b"),
)  # fmt: skip
_RULES: dict[str, tuple[tuple[float, re.Pattern[str]], ...]] = {
    "money": _compiled(
        (1.0, rf"(?:[$€£¥]|\b(?:EUR|USD|GBP|CHF|CAD|AUD|Rs)\.?)\s?-?{_NUM}{_SCALE}"),
        (1.0, rf"\b{_NUM}{_SCALE}\s?(?:€|\$|£|(?:EUR|USD|GBP|CHF|CAD|euros?|dollars?|pounds?|francs?|cents?|pence|k€|M€)\b)(?:\s?(?:HT|TTC))?"),
        (1.0, rf"\b{_COUNT_WORDS}(?:[ -]{_COUNT_WORDS})*\s(?:euros?|dollars?|pounds?|francs?|cents?|pence)\b"),
        (0.75, r"\b\d{1,3}(?:[.,\u00a0\u202f ]\d{3})*[.,]\d{2}\b(?!\s?%)"),
        (0.8, r"\b(?:free of charge|for free|(?:is|are|travel|enter|remains?) free|gratuit(?:e|ement)?|no charge|without charge)\b"),
        (0.4, rf"\b(?!{_YEAR}\b){_NUM}\b(?!\s?%)"),
    ),
    "percent": _compiled(
        (1.0, rf"\b{_NUM}\s?(?:%|per ?cent\b|percent\b|pour cent\b|percentage points\b|points?\b)"),
        (0.9, rf"\b{_WORDS}(?:[ -]{_WORDS})*\s(?:per ?cent|pour cent)\b"),
        (0.6, r"\b(?:half|a third|two thirds|a quarter|three quarters|la moitié|un tiers|deux tiers|un quart)\b"),
        (0.35, rf"\b{_NUM}\b"),
    ),
    "duration": _compiled(
        (1.0, rf"\b{_ANY}(?:\s?(?:-|–|to|à|or|ou)\s?{_ANY})?(?:\s\(\w+\))?[\s-]?(?:\w+\s)?{_TIME_UNITS}(?:\s(?:and|et)\s{_ANY}\s{_TIME_UNITS})?"),
        (1.0, r"\b\d{1,2}\s?h(?:\s?\d{2})?\b|\b\d{1,2}\s?(?:hr?s?|hours?)\s\d{1,2}\s?(?:min|minutes?|m)\b"),
        (0.5, rf"\b(?:until|through|jusqu'au|from)\s.{{0,30}}{_YEAR}"),
        (0.3, rf"\b{_NUM}\b"),
    ),
    "measure": _compiled(
        (1.0, rf"\b{_NUM}(?:\s?(?:-|–|to|à|x|×|by)\s?{_NUM}){{0,2}}\s?{_UNITS}(?:\s?(?:x|×|by)\s?{_NUM}\s?{_UNITS}){{0,2}}"),
        (0.8, rf"\b{_WORDS}\s{_UNITS}"),
        (0.8, r"\b(?:A|B)[0-6]\b|\bgas mark \d\b"),
        (0.4, rf"\b{_NUM}\b"),
    ),
    "number": _compiled((0.8, rf"\b{_NUM}\b"), (0.75, rf"\b{_COUNT_WORDS}(?:[ -]{_COUNT_WORDS})*\b"),
                        (0.6, r"\b(?:once|twice|thrice|daily|weekly|monthly|yearly|annually|quarterly|none|no|chaque|every)\b")),
    "time": _compiled(
        (1.0, r"\b\d{1,2}(?:[:.h]\d{2}|\s?h)?\s?(?:am|pm|a\.m\.|p\.m\.)?\s?(?:-|–|to|until|à)\s?\d{1,2}(?:[:.h]\d{2}|\s?h\b)?\s?(?:am|pm|a\.m\.|p\.m\.)?"),
        (1.0, r"\b\d{1,2}(?::|\s?h\s?)\d{2}\s?(?:am|pm|a\.m\.|p\.m\.)?|\b\d{1,2}(?:\.\d{2})?\s?(?:am|pm|a\.m\.|p\.m\.|o'clock)|\b\d{1,2}\s?(?:h|heures?)\b"),
        (0.9, r"\b(?:noon|midday|midnight|midi|minuit)\b"),
    ),
    "date": _compiled(*_DATES),
    "colour": _compiled((1.0, rf"\b(?:(?:dark|light|pale|bright|clair|foncé)[ -])?{_COLOURS}\b(?:[ -](?:clair|foncé)e?s?\b)?")),
    "year": _compiled((1.0, rf"\b{_YEAR}(?:\s?[-–/]\s?\d{{2,4}})?\b")),
    "email": _compiled((1.0, r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")),
    "phone": _compiled((1.0, r"(?<!\w)(?:\+\d{1,3}[\s.-]?)?(?:\(\d{1,5}\)[\s.-]?)?\d{2,5}(?:[\s.-]\d{2,5}){1,5}|\b\d{3}[\s.-]\d{4}\b|\b\d{8,11}\b|\b(?:extension|ext\.?|poste)\s?\d{2,6}")),
    "url": _compiled((1.0, r"(?:https?://|www\.)[^\s>)]+"), (0.8, r"\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|fr|de|eu|gov|edu|info|io|uk|co\.uk|example)\b(?:/\S*)?")),
    "code": _compiled(
        (1.0, r"\b(?=[\w/.-]*\d)(?=[\w/.-]*[A-Za-z-/])[A-Za-z0-9]+(?:[-/.][A-Za-z0-9]+)*(?:\s\d{4}(?:\s\d{4})*\w*(?:(?<=\s\d{4})\s\d{1,3}\b)?)?"),
        (0.9, r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,4})?\b"),
        (0.8, r"\b\d[\d ]{2,}\d\b|\b\d+\b"),
    ),
}  # fmt: skip
_PERSON = (
    (1.0, re.compile(rf"\b{_TITLE}\s+{_NAME}")),
    (
        0.8,
        re.compile(
            rf"\b(?:{_CAP})(?:\s+(?:(?:de|du|des|van|von|der|la|le|di|da|of|&|and|et)\s+)?(?:{_CAP})){{1,4}}"
        ),
    ),
    (0.5, re.compile(r"\b(?:by|par)\s(?:(?:the|a|an|le|la|les|des|un|une)\s|l')?[^\W\d_][\w'’-]+")),
    (0.45, re.compile(rf"(?:{_CAP})")),
)
_PLACE = (
    (1.0, re.compile(r"\b\d{1,4}(?:\s?(?:bis|ter))?,?\s+(?:[\w'’.-]+\s+){0,5}(?:Street|St\.?|Road|Rd\.?|Avenue|Ave\.?|Lane|Drive|Square|Place|Way|Boulevard|Quay|Court|Close)\b[^.;]*|\b\d{1,4}(?:\s?(?:bis|ter))?,?\s+(?:rue|avenue|boulevard|place|quai|chemin|allée|impasse|route)\s[^.;]*", re.IGNORECASE)),
    (0.95, re.compile(r"\b(?:[Rr]oom|[Hh]all|[Gg]ate|[Pp]latform|[Bb]uilding|[Ff]loor|[Ss]alle|[Bb]âtiment|[Qq]uai|[Vv]oie|[Bb]ureau)\s+[A-Z0-9][\w.-]*(?:\s(?:of|de|du)\s[\w\s]+)?")),
    (0.9, re.compile(rf"\b(?:in|at|from|near|to|into|outside|inside|via|à|en|dans|au|aux|chez|près de|vers)\s+(?:the\s+|la\s+|le\s+|l['’])?{_NAME}(?:,\s{_NAME})?")),
    (0.6, re.compile(r"\b(?:in|at|on|near|under|behind|inside|outside|above|below|next to|beside|beneath|dans|sous|sur|derrière|devant|au|à côté de|près de|chez)\s+(?:the|a|an|la|le|les|l['’]|un|une|du|de)\s?[\w'’-]+(?:\s[\w'’-]+){0,4}")),
    (0.5, re.compile(rf"{_NAME}")),
)  # fmt: skip


def spans(kind: Kind, text: str) -> list[Span]:
    """Answers of `kind` in `text`; the surest of those that overlap. Kinds without a shape have none."""
    found = sorted(_all(kind, text), key=lambda s: (-s.strength, s.start - s.stop))
    kept: list[Span] = []
    for span in found:
        if all(span.stop <= other.start or span.start >= other.stop for other in kept):
            kept.append(span)
    return sorted(kept, key=lambda s: s.start)


def _all(kind: Kind, text: str) -> Iterator[Span]:
    if kind == "quantity":
        for other in ("money", "measure", "percent", "duration"):
            for span in _all(other, text):
                if span.strength > 0.5:
                    yield span
        kind = "number"
    if kind == "date":
        for span in _all("time", text):
            yield Span(span.start, span.stop, 0.75 * span.strength)
    rules = _PERSON if kind in {"person", "name"} else _PLACE if kind == "place" else _RULES.get(kind, ())
    for strength, pattern in rules:
        for match in pattern.finditer(text):
            if kind in {"person", "place", "name"} and not _a_name(match, strength):
                continue
            if kind in {"person", "name"} and _NO_PERSON.search(match.group()):
                continue
            yield Span(match.start(), match.end(), strength)


_NO_PERSON = re.compile(
    rf"(?:\b(?:Street|Road|Lane|Avenue|Square|Drive|Grove|Close)\b|^(?:{_WEEKDAY}|{_MONTH})\b)", re.IGNORECASE
)


def _a_name(match: re.Match[str], strength: float) -> bool:
    """Whether capitals make a name here: not a lone word that only begins the sentence, nor a stop word."""
    if strength <= 0.45 and match.group().endswith(("'s", "’s")):
        return False
    words = [w for w in re.findall(r"[^\W\d_][\w'’-]*", match.group()) if fold(w) not in STOP]
    if any(w[0].isupper() and fold(w) in STOP for w in match.group().split()[1:]):
        return False
    return bool(words) and not (strength <= 0.5 and match.start() == 0)
