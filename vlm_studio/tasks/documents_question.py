"""What a question asks for: the kind of its answer, the words that must be found, and what it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from vlm_studio.core.errors import InvalidRequest
from vlm_studio.core.folding import fold
from vlm_studio.tasks.documents_terms import STOP, Rarity, tokens

Kind = Literal[
    "person", "date", "year", "time", "money", "number", "percent", "duration", "measure", "place", "email", "phone",
    "url", "code", "name", "yesno", "why", "how", "define", "list", "quantity", "colour", "what",
]  # fmt: skip

_MONEY = (
    r"price|cost|costs|fee|fees|amount|salary|wage|rent|budget|total|subtotal|deposit|tariff|fine|penalty|balance|turnover|"
    r"revenue|profit|paid|pay|payment|owed|owe|due|charge|charged|worth|spend|spent|price|grant|income|prix|montant|cout|"
    r"coute|coutent|tarif|loyer|budget|salaire|somme|frais|solde|caution|chiffre d'affaires|paye|payer|vaut|subvention|cotisation|amende"
)
_MEASURES = (
    r"temperature|weight|height|width|depth|length|speed|distance|size|capacity|voltage|power|area|dimensions?|pressure|"
    r"thickness|volume|diameter|altitude|elevation|range|frequency|resolution|dose|dosage|poids|hauteur|largeur|profondeur|"
    r"longueur|vitesse|taille|capacite|tension|puissance|surface|superficie|pression|epaisseur|diametre|posologie|consumption"
)
_RULES: tuple[tuple[Kind, str], ...] = (
    ("colour", r"\b(?:what|which|in what) colou?rs?\b|\b(?:quelle|de quelle) couleur\b"),
    ("email", r"\be-?mail\b|courriel|adresse electronique"),
    ("phone", r"\b(?:tele)?phone\b|\bfax\b|telephone|\bcall\b.*\bnumber\b|what number .*\b(?:call|dial|ring)\b|numero .*appeler"),
    ("url", r"\bweb ?site\b|\burl\b|web address|site (?:web|internet)"),
    ("percent", r"\bper ?cent(?:age)?\b|pourcentage|\bwhat (?:share|proportion)\b|quel(?:le)? (?:part|proportion|taux)\b|(?:interest|vat|tax|response|success|unemployment|occupancy|growth|discount|inflation|turnout) rate|rate of (?:vat|tax|interest|pay)|taux de|how much (?:vat|discount)\b|what discount"),
    ("duration", r"\bhow far in advance\b|how (?:early|much time|many working days)\b|\bhow long\b|combien de temps|\bduration\b|\bduree\b|\bdelai\b|\b(?:notice|warranty|guarantee|trial|probation|probationary|retention|cooling-off|grace|contract|payment|validity|rental|lease) (?:period|term)s?\b|\bhow many (?:seconds|minutes|hours|days|weeks|months|years)\b|combien de (?:secondes|minutes|heures|jours|semaines|mois|annees|ans)\b|preavis|\bnotice\b.*\b(?:required|needed|give|given)\b|\bhow quickly\b|\bhow soon\b|within what (?:time|period)|quel(?:le)? (?:periode|temps)|pendant combien"),
    ("number", r"\bhow many\b|\bcombien d|(?:^|\b(?:the|a|what|total|average|exact|maximum|minimum|record|large|overall|current)\s)number of\b(?! (?:the|this|my|our) (?:invoice|order|account|contract|policy|customer|client|file|case|card)\b)|\bnombre de\b|\bhow old\b|quel age|\bhow often\b|what age\b"),
    ("money", r"\bhow much\b.*\b(?:" + _MONEY + r")\b|\bcombien (?:coute|coutent|a coute|vaut|faut-il payer|doit-on payer|est facture|paye)|\b(?:what|which|quel(?:le)?s?)\b.{0,40}\b(?:" + _MONEY + r")\b|\bhow expensive\b|\bhow much money\b"),
    ("measure", r"\bhow (?:tall|high|far|heavy|wide|deep|fast|hot|big|large|warm|cold|thick|powerful|strong)\b|\b(?:what|which|quel(?:le)?s?)\b.{0,30}\b(?:" + _MEASURES + r")\b"),
    ("quantity", r"\bhow much\b|\bcombien\b|quelle quantite"),
    ("time", r"\b(?:what|which) time\b|\bwhat hour\b|quelle heure|opening hours|(?:opening|closing|start|departure|arrival) times?\b|\bhoraires?\b"),
    ("year", r"\b(?:what|which) year\b|quelle annee"),
    ("date", r"(?:^|, |and )when\b|\b(?:what|which)\b.{0,12}\b(?:date|day|month)\b|\bdate\b|\bdeadline\b|\bquand\b|quel(?:le)? (?:jour|mois)|echeance|what.{0,25}\bexpir"),
    ("why", r"\bwhy\b|\bpourquoi\b|\b(?:what|which|for what) (?:is the |was the |were the |are the )?(?:reasons?|cause)\b|quelle .*\b(?:raison|cause)\b|what caused"),
    ("place", r"\bwhere\b|\bwhat\b.{0,40}\baddress\b|\bquelle\b.{0,40}\badresse\b|\bwhere's\b|\b(?:what|which|quel(?:le)?)\b.{0,12}\b(?:city|town|country|place|location|village|region|venue|ville|pays|adresse|lieu|endroit|salle|room|building|street|hall)\b"),
    ("code", r"\bnumber of (?:the|this|my|our) (?:invoice|order|account|contract|policy|customer|client|file|case|card)\b|\b(?:invoice|order|reference|account|contract|policy|serial|model|part|registration|customer|client|article|vat|tax|licence|license|case|file|tracking|booking|flight|train|iban|bic|purchase order|po|company|siret|siren|patent|room|platform|gate|version) (?:number|no\b|code|id\b|reference)|\biban\b|\bnumero (?:de|du|d')|\breference\b|\b(?:access|door|entry|gate|postal|post|zip|promo|discount|error|security|product|item|pin|bank|swift|sort) ?code\b|\bserial\b|which (?:version|model)|what version"),
    ("person", r"\bwho\b|\bwhom\b|\bwhose\b|\bqui\b(?! est-ce que)|\bnames? of the (?:\w+ ){0,3}(?:director|manager|author|head|president|chair\w*|owner|secretary|treasurer|tenant|landlord|teacher|doctor|mayor|contact|person|supervisor|founder|winner|customer|client|seller|buyer)\b|nom (?:du|de la) (?:directeur|directrice|president|presidente|maire|locataire|proprietaire|bailleur|responsable|auteur)|quel(?:le)? .{0,15}\b(?:directeur|directrice|auteur|maire)\b"),
    ("name", r"\bnames? of\b|\b(?:what|which|quel(?:le)?s?) (?:\w+ ){0,2}(?:company|firm|organi[sz]ation|brand|make|bank|airline|university|institute|publisher|supplier|agency|hotel|restaurant|magazine|newspaper|fund|foundation|insurer|society|museum|entreprise|societe|marque|banque|organisme|universite|laboratoire|journal|fournisseur)\b|\bnoms? d[eu]\b|comment s'appelle|\bis .{2,40} called\b|\bwhat .{0,30}\bcalled\b"),
    ("define", r"\bwhat does .* (?:mean|stand for|refer to)\b|\bque (?:signifie|veut dire)\b|\bqu'est-ce qu|\bdefinition\b|\bdefined?\b"),
    ("how", r"^how (?:do|does|can|could|should|to|is|are|was|were|did|must|will)\b|\bcomment\b"),
    ("yesno", r"^(?:is|are|was|were|do|does|did|can|could|may|must|should|has|have|had|will|would|am) |^(?:est-ce|peut-|puis-|faut-il|y a-t-il|doit-|a-t-|ont-|est-il|est-elle|sont-)|^les? .* (?:sont-ils|est-il|sont-elles|est-elle|peut-il|peuvent-ils)"),
    ("list", r"\bwhat are the\b|\bwhich are\b|\blist\b|\bname (?:the|all|two|three|four)\b|quel(?:le)?s sont|\bwhat (?:items|ingredients|steps|documents|tools|languages|topics|subjects|materials)\b|quel(?:le)?s (?:documents|ingredients|outils)"),
)  # fmt: skip
_FIRST: tuple[tuple[Kind, str], ...] = (
    ("quantity", r"^by how much\b|^de combien\b"),
    (
        "person",
        r"^(?:to |by |from |for |with )?(?:who|whom|whose)\b|^(?:a |par |avec |pour |de |chez )?qui\b(?! est-ce que)",
    ),
    ("why", r"^why\b|^pourquoi\b"),
    ("place", r"^(?:from )?where\b"),
    ("date", r"^(?:since |until |by )?when\b|^(?:depuis |jusqu'a )?quand\b"),
)
"""Before all others: the word that a question begins with."""
_COMPILED = tuple((kind, re.compile(pattern)) for kind, pattern in (*_FIRST, *_RULES))
_FOCUS = re.compile(
    r"\b(?:what|which|whose|how many|how much|quels?|quelles?|combien de|combien d')\s+(?:(?:is|are|was|were|est|sont|"
    r"etait|the|le|la|les|l'|kind of|type of|sort of)\s+)*((?:[\w'-]+\s*){1,4})"
)
_MOST = re.compile(
    r"\b(?:highest|most|largest|biggest|longest|greatest|maximum|latest|newest|oldest|tallest|heaviest|best|fastest|(?:le|la|les) plus (?!petit|bas|court|faible|jeune|ancien)\w+|most expensive|plus cher|plus chere|plus grande?|plus eleve|plus longue?)\b"
)
_LEAST = re.compile(
    r"\b(?:lowest|least|smallest|shortest|minimum|earliest|cheapest|youngest|lightest|fewest|slowest|moins cher|moins chere|plus petite?|plus bas|plus courte?|plus faible|(?:le|la|les) moins \w+)\b"
)
_FRENCH = frozenset(
    "le la les des est sont quel quelle quels quelles qui que quoi quand ou comment combien pourquoi du au aux une dans pour "
    "sur avec par qu'est-ce est-ce cette ces son sa ses".split()
)  # fmt: skip
_KIND_WORDS = frozenset(
    "date day year month time hour number name amount price cost percentage percent much many long old kind type address "
    "place person city country reason period duration total value result average "
    "jour annee mois heure numero nom montant prix pourcentage adresse lieu personne ville pays raison duree delai valeur "
    "moyenne".split()
)  # fmt: skip
_EVERY = re.compile(r"\b(?:each|every|per|a|par|chaque)\s$", re.IGNORECASE)
_GENERIC = frozenset(
    "go goes going come comes happen happens occur occurs apply applies own owns use uses call calls work works run runs "
    "take takes keep keeps get gets put set serve serves sert sers servir aller va vont venir vient utiliser used belong "
    "belongs go reach make makes happening exist exists order ordered need needs want wants allowed passe".split()
)  # fmt: skip
"""Verbs that say little of what is asked."""
_PERIODS = frozenset("month year week day hour mois an annee semaine jour heure".split())
_PARTICIPLE = re.compile(r"(?:ed|ée?s?)$")
"""What is done to the thing asked about is said in many ways; the thing itself in few."""
_WHERE_FR = re.compile(r"(?:^|[\s,])où\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    word: str
    """Folded."""
    weight: float
    proper: bool
    """A name or number: what the page must hold as it is."""


@dataclass(frozen=True, slots=True)
class Question:
    text: str
    kind: Kind
    french: bool
    terms: tuple[Term, ...]
    focus: tuple[str, ...]
    """Folded words of what is asked for: "invoice number" in "What is the invoice number?"."""
    extreme: Literal["", "most", "least"] = ""


def understand(text: str, rarity: Rarity, limit: int = 4_000) -> Question:
    """Raises InvalidRequest for a question without a word, or one that is too long."""
    text = " ".join(text.split())
    if len(text) > limit:
        raise InvalidRequest(f"A question has at most {limit} characters.", "Ask it in fewer words.")
    folded = fold(text)
    kind = _kind_of(text, folded)
    focus = _focus(folded)
    terms = _terms(text, rarity, frozenset(focus) if kind in {"name", "person", "place"} else frozenset())
    if not terms and not tokens(text):
        raise InvalidRequest("The question is empty.", "Type what you want to know.")
    extreme: Literal["", "most", "least"] = (
        "most" if _MOST.search(folded) else "least" if _LEAST.search(folded) else ""
    )
    words = re.findall(r"[\w'-]+", folded)
    return Question(text, kind, is_french(words, text), terms, focus, extreme)


def is_french(words: list[str], text: str) -> bool:
    return sum(word in _FRENCH for word in words) * 4 >= len(words) or bool(
        re.search(r"[éèêàçùœ]", text) and "qu" in text
    )


def _kind_of(text: str, folded: str) -> Kind:
    if _WHERE_FR.search(text):
        return "place"
    for kind, pattern in _COMPILED:
        if pattern.search(folded):
            return kind
    if re.match(r"^what (?:is|are) (?:an? )?[\w-]+(?: [\w-]+)?\?*$", folded):
        return "define"
    return "what"


def _focus(folded: str) -> tuple[str, ...]:
    found = _FOCUS.search(folded)
    if not found:
        return ()
    words = []
    for token in tokens(found.group(1)):
        if token.folded in STOP:
            break
        words.append(token.folded)
    return tuple(words[:3])


def _terms(text: str, rarity: Rarity, shown: frozenset[str]) -> tuple[Term, ...]:
    found: dict[str, Term] = {}
    for place, token in enumerate(tokens(text)):
        word = token.folded
        if word in STOP or (len(word) == 1 and not word.isdigit() and not token.written.isupper()):
            continue
        digits = word[0].isdigit()
        proper = digits or (token.written[0].isupper() and (place > 0 or not rarity.known(word)))
        weight = rarity.weight(word)
        if proper:
            weight = max(weight, 0.9)
        elif _EVERY.search(text[: token.start]) and word in _PERIODS:
            weight = max(weight, 0.6)
        elif word in _GENERIC or word in shown:
            weight *= 0.5
        elif word in _KIND_WORDS:
            weight *= 0.5
        elif _PARTICIPLE.search(token.written):
            weight *= 0.65
        if word not in found:
            found[word] = Term(word, weight, proper)
    return tuple(found.values())
