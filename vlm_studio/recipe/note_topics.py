"""What notes are about and what is asked of them, in English and French; wordings only, recipe/notes.py fills them.

A topic is the ways to write it and what may be asked: (kind, ways to ask, the slot that answers). Slots: {n} a person, {i} a thing,
{d} day, {m} date, {t} time, {a} amount with its currency, {k} {l} numbers, {p} phone, {e} mail address,
{r} reference, {w} a word of any kind. `HELD_OUT` names the topics that no training sees.
"""

from __future__ import annotations

Ask = tuple[str, tuple[str, ...], str]
Topic = tuple[tuple[str, ...], tuple[Ask, ...]]

HELD_OUT = frozenset(
    "vet deposit bus choir wifi returned doctor bakery garage vétérinaire caution autocar chorale rendu médecin".split()
)

TOPICS: dict[str, dict[str, Topic]] = {
    "en": {
        "call": (
            ("Call {n} on {d} at {t}", "Ring {n} back {d}, {t}", "{d} {t}: phone {n}"),
            (
                ("who", ("Who should I call?", "Whom do I have to ring?", "Who wants a call?"), "n"),
                ("time", ("When should I call {n}?", "At what time do I call {n}?"), "t"),
                ("date", ("On which day do I call {n}?", "What day is the call?"), "d"),
            ),
        ),
        "meeting": (
            ("Meeting with {n}, {d} {m}", "{m}: meeting with {n} ({d})", "Meet {n} on {m}, a {d}"),
            (
                ("who", ("Who is the meeting with?", "Whom do I meet?"), "n"),
                ("date", ("What date is the meeting?", "When is the meeting?", "When do I meet {n}?"), "m"),
            ),
        ),
        "rent": (
            ("Rent due {m}: {a}", "Rent {a}, due {m}", "Pay the rent ({a}) by {m}"),
            (
                ("amount", ("How much is the rent?", "What rent is due?", "How high is the rent?"), "a"),
                ("date", ("When is the rent due?", "By when must the rent be paid?"), "m"),
            ),
        ),
        "total": (
            ("Total: {a}", "TOTAL {a}", "Sum total {a}"),
            (("amount", ("What is the total?", "How much is it in total?", "How much in all?"), "a"),),
        ),
        "phone": (
            ("Phone: {p}", "Tel. {p}", "My number is {p}"),
            (("phone", ("What is the phone number?", "Which number can I call?"), "p"),),
        ),
        "thanks": (
            ("Thanks again for the {i}! Love, {n}", "Thank you for the {i}. Yours, {n}"),
            (
                ("who", ("Who says thanks?", "Who wrote the thanks?", "Who signed it?"), "n"),
                ("item", ("What are the thanks for?", "What does {n} say thanks for?"), "i"),
            ),
        ),
        "owes": (
            ("{n} owes me {a}", "{n} still owes {a}", "To get back from {n}: {a}"),
            (
                ("who", ("Who owes me money?", "Who owes something?"), "n"),
                ("amount", ("How much does {n} owe?", "How much do I get from {n}?"), "a"),
            ),
        ),
        "dentist": (
            ("Dentist {d} {t}", "{d} at {t}: dentist", "Dentist's appointment: {d}, {t}"),
            (
                ("time", ("What time is the dentist?", "At what time is the dentist's appointment?"), "t"),
                ("date", ("Which day is the dentist?", "When do I go to the dentist?"), "d"),
            ),
        ),
        "forget": (
            ("Don't forget the {i}!", "Remember the {i}", "NB: take the {i} along"),
            (("item", ("What must not be forgotten?", "What should I remember?", "What do I take?"), "i"),),
        ),
        "room": (
            ("Room {k}, ref. {r}", "Ref. {r} / room {k}", "Your room is {k} (booking {r})"),
            (
                ("number", ("Which room is it?", "What is the room number?"), "k"),
                ("number", ("What is the reference?", "What is the booking number?"), "r"),
            ),
        ),
        "back": (
            ("I'll be back by {t}. - {n}", "Back at {t}, {n}", "Gone out, home again {t} ({n})"),
            (
                ("time", ("When will {n} be back?", "At what time is {n} back?"), "t"),
                ("who", ("Who will be back?", "Who went out?"), "n"),
            ),
        ),
        "train": (
            ("Train leaves {t}, platform {k}", "Train {t} from platform {k}", "{t} train (platform {k})"),
            (
                ("time", ("When does the train leave?", "What time is the train?"), "t"),
                ("number", ("Which platform is it?", "From which platform does the train leave?"), "k"),
            ),
        ),
        "birthday": (
            ("{n}'s birthday: {m}", "{m} is {n}'s birthday", "Birthday of {n}, {m}"),
            (
                ("who", ("Whose birthday is it?", "Who has a birthday?"), "n"),
                ("date", ("When is the birthday?", "When is {n}'s birthday?"), "m"),
            ),
        ),
        "mail": (
            ("Mail: {e}", "Write to {e}", "e-mail {e}"),
            (("mail", ("What is the e-mail address?", "Where do I write to?"), "e"),),
        ),
        "order": (
            ("Order {k} {i} for {n}", "{n} wants {k} {i}", "For {n}: {k} {i}"),
            (
                ("count", ("How many {i} does {n} want?", "How many {i} are ordered?"), "k"),
                ("who", ("Who wants {i}?", "Who are the {i} for?"), "n"),
                ("item", ("What does {n} want?", "What is ordered for {n}?"), "i"),
            ),
        ),
        "street": (
            ("{k} {n} Street, flat {l}", "lives at {k} {n} Street, flat {l}"),
            (
                ("number", ("Which flat is it?", "What is the number of the flat?"), "l"),
                ("number", ("What is the house number?", "Which number in {n} Street?"), "k"),
            ),
        ),
        "plumber": (
            ("Plumber ({n}): {p}", "The plumber is {n}, {p}", "{n} the plumber {p}"),
            (
                ("phone", ("What is the plumber's number?", "How do I reach the plumber?"), "p"),
                ("who", ("Who is the plumber?", "What is the plumber called?"), "n"),
            ),
        ),
        "paid": (
            ("Paid {a} to {n} on {m}", "{m}: {n} got {a} from me", "Gave {n} {a}, {m}"),
            (
                ("amount", ("How much did {n} get?", "How much was paid to {n}?"), "a"),
                ("who", ("Who was paid?", "Who got the money?"), "n"),
                ("date", ("When was {n} paid?", "On which date did I pay?"), "m"),
            ),
        ),
        "ticket": (
            ("{k} tickets at {a} each", "Tickets: {k} x {a}", "tickets {k}, {a} a piece"),
            (
                ("count", ("How many tickets?", "How many tickets are there?"), "k"),
                ("amount", ("How much is a ticket?", "What does one ticket cost?"), "a"),
            ),
        ),
        "key": (
            ("The key is with {n}", "{n} has the key", "Key: ask {n}"),
            (("who", ("Who has the key?", "Whom do I ask for the key?"), "n"),),
        ),
        "lent": (
            ("Lent {n} my {i} on {m}", "{n} borrowed the {i} ({m})"),
            (
                ("item", ("What did {n} borrow?", "What was lent?"), "i"),
                ("who", ("Who borrowed the {i}?", "Who has my {i}?"), "n"),
                ("date", ("When was the {i} lent?",), "m"),
            ),
        ),
        "party": (
            ("Party at {n}'s, {m}, {t}", "{n} gives a party on {m} from {t}"),
            (
                ("who", ("Who gives a party?", "Whose party is it?"), "n"),
                ("date", ("When is the party?", "What is the date of the party?"), "m"),
                ("time", ("At what time is the party?", "When does the party begin?"), "t"),
            ),
        ),
        "gas": (
            ("Gas meter: {k}", "gas {k} on {m}", "Meter reads {k}, {m}"),
            (("number", ("What does the meter read?", "What is the reading of the gas meter?"), "k"),),
        ),
        "lunch": (
            ("Lunch with {n} at {t}", "{t} lunch, {n}", "{n} comes for lunch, {t}"),
            (
                ("who", ("Who comes for lunch?", "With whom do I have lunch?"), "n"),
                ("time", ("When is lunch?", "What time is lunch?"), "t"),
            ),
        ),
        "any": (
            ("{w}: {a}", "{w} {a}", "for {w} {a}"),
            (("amount", ("How much is it for {w}?", "How much is the {w}?", "What does {w} cost?"), "a"),),
        ),
        "whose": (
            ("{w}: {n}", "{w} - {n}", "{n} does the {w}"),
            (("who", ("Who does the {w}?", "Whose job is {w}?", "Who is down for {w}?"), "n"),),
        ),
        "when": (
            ("{w}: {m}", "{w} on {m}", "{m} {w}"),
            (("date", ("When is {w}?", "What is the date of {w}?"), "m"),),
        ),
        "clock": (
            ("{w} at {t}", "{t} {w}", "{w}: {t}"),
            (("time", ("At what time is {w}?", "When is the {w}?"), "t"),),
        ),
        "vet": (
            ("Take the cat to the vet, {d} {t}", "Vet: {d}, {t}"),
            (
                ("date", ("On which day is the vet?",), "d"),
                ("time", ("What time is the vet's appointment?",), "t"),
            ),
        ),
        "deposit": (
            ("Deposit of {a} returned by {n}", "Deposit {a} ({n})"),
            (("amount", ("How much was the deposit?",), "a"), ("who", ("Who returned the deposit?",), "n")),
        ),
        "bus": (
            ("Bus no. {k} at {t}", "Take bus {k}, {t}"),
            (
                ("number", ("Which bus is it?",), "k"),
                ("time", ("When does the bus go?",), "t"),
            ),
        ),
        "choir": (
            ("Choir practice moved to {m}, says {n}", "Choir: {m} ({n})"),
            (("date", ("When is choir practice?",), "m"), ("who", ("Who told me about the choir?",), "n")),
        ),
        "wifi": (("Wifi password: {r}", "wifi {r}"), (("number", ("What is the wifi password?",), "r"),)),
        "returned": (
            ("{n} brought {k} {i}", "{k} {i} came from {n}"),
            (
                ("count", ("How many {i} came?",), "k"),
                ("who", ("Who brought the {i}?",), "n"),
                ("item", ("What did {n} bring?",), "i"),
            ),
        ),
        "doctor": (
            ("Dr. {n}: {p}", "Doctor {n}, tel. {p}"),
            (
                ("phone", ("What is the doctor's phone number?",), "p"),
                ("who", ("What is the doctor's name?",), "n"),
            ),
        ),
        "bakery": (
            ("Bakery bill {a}, paid {m}", "Paid the bakery {a} on {m}"),
            (
                ("amount", ("How much was the bakery bill?",), "a"),
                ("date", ("When was the bakery paid?",), "m"),
            ),
        ),
        "garage": (
            ("Car at the garage until {d}, {a}", "Garage: {a}, ready {d}"),
            (
                ("amount", ("How much does the garage want?",), "a"),
                ("date", ("Which day is the car ready?",), "d"),
            ),
        ),
    },
    "fr": {
        "appeler": (
            ("Appeler {n} {d} à {t}", "{d} {t} : téléphoner à {n}", "Rappeler {n}, {d}, {t}"),
            (
                ("who", ("Qui faut-il appeler ?", "À qui dois-je téléphoner ?"), "n"),
                ("time", ("À quelle heure appeler {n} ?", "Quand appeler {n} ?"), "t"),
                ("date", ("Quel jour faut-il appeler {n} ?",), "d"),
            ),
        ),
        "réunion": (
            ("Réunion avec {n}, {d} {m}", "{m} : réunion avec {n}"),
            (
                ("who", ("Avec qui est la réunion ?", "Qui vient à la réunion ?"), "n"),
                ("date", ("Quand est la réunion ?", "À quelle date est la réunion ?"), "m"),
            ),
        ),
        "loyer": (
            ("Loyer dû le {m} : {a}", "Payer le loyer ({a}) avant le {m}"),
            (
                ("amount", ("Combien coûte le loyer ?", "De combien est le loyer ?"), "a"),
                ("date", ("Quand faut-il payer le loyer ?", "Pour quand est le loyer ?"), "m"),
            ),
        ),
        "total": (
            ("Total : {a}", "TOTAL {a}", "En tout {a}"),
            (("amount", ("Quel est le total ?", "Combien en tout ?"), "a"),),
        ),
        "tél": (
            ("Tél. : {p}", "Mon numéro : {p}"),
            (("phone", ("Quel est le numéro de téléphone ?", "À quel numéro appeler ?"), "p"),),
        ),
        "merci": (
            ("Merci encore pour le {i} ! Bises, {n}", "Merci du {i}. {n}"),
            (
                ("who", ("Qui dit merci ?", "Qui a signé ?"), "n"),
                ("item", ("De quoi remercie {n} ?", "Pour quoi dit-on merci ?"), "i"),
            ),
        ),
        "doit": (
            ("{n} me doit {a}", "Dette de {n} : {a}"),
            (
                ("who", ("Qui me doit de l'argent ?",), "n"),
                ("amount", ("Combien doit {n} ?", "Combien {n} me doit ?"), "a"),
            ),
        ),
        "dentiste": (
            ("Dentiste {d} {t}", "{d} à {t} : dentiste"),
            (
                ("time", ("À quelle heure est le dentiste ?",), "t"),
                ("date", ("Quel jour est le dentiste ?", "Quand est le dentiste ?"), "d"),
            ),
        ),
        "oublier": (
            ("N'oublie pas le {i} !", "Penser au {i}", "Ne pas oublier : {i}"),
            (("item", ("Que faut-il ne pas oublier ?", "À quoi faut-il penser ?"), "i"),),
        ),
        "train": (
            ("Train de {t}, voie {k}", "Le train part à {t}, voie {k}"),
            (
                ("time", ("Quand part le train ?", "À quelle heure est le train ?"), "t"),
                ("number", ("Sur quelle voie est le train ?", "Quelle voie ?"), "k"),
            ),
        ),
        "anniversaire": (
            ("Anniversaire de {n} : {m}", "{m}, anniversaire de {n}"),
            (
                ("who", ("De qui est-ce l'anniversaire ?",), "n"),
                ("date", ("Quand est l'anniversaire ?", "Quand est l'anniversaire de {n} ?"), "m"),
            ),
        ),
        "courriel": (
            ("Courriel : {e}", "Écrire à {e}"),
            (("mail", ("Quelle est l'adresse électronique ?", "À quelle adresse écrire ?"), "e"),),
        ),
        "commande": (
            ("Commander {k} {i} pour {n}", "{n} veut {k} {i}"),
            (
                ("count", ("Combien de {i} veut {n} ?", "Combien de {i} faut-il ?"), "k"),
                ("who", ("Qui veut les {i} ?", "Pour qui sont les {i} ?"), "n"),
                ("item", ("Que veut {n} ?",), "i"),
            ),
        ),
        "payé": (
            ("Payé {a} à {n} le {m}", "{m} : donné {a} à {n}"),
            (
                ("amount", ("Combien a reçu {n} ?", "Combien a été payé à {n} ?"), "a"),
                ("who", ("Qui a été payé ?", "Qui a reçu l'argent ?"), "n"),
                ("date", ("Quand {n} a été payé ?",), "m"),
            ),
        ),
        "clé": (
            ("La clé est chez {n}", "{n} a la clé"),
            (("who", ("Qui a la clé ?", "Chez qui est la clé ?"), "n"),),
        ),
        "fête": (
            ("Fête chez {n} le {m} à {t}", "{n} fait une fête, {m}, {t}"),
            (
                ("who", ("Chez qui est la fête ?", "Qui fait une fête ?"), "n"),
                ("date", ("Quand est la fête ?", "Quelle est la date de la fête ?"), "m"),
                ("time", ("À quelle heure est la fête ?",), "t"),
            ),
        ),
        "prix": (
            ("{w} : {a}", "{w} {a}", "pour {w} {a}"),
            (("amount", ("Combien coûte {w} ?", "Quel est le prix de {w} ?"), "a"),),
        ),
        "charge": (
            ("{w} : {n}", "{n} s'occupe de {w}"),
            (("who", ("Qui s'occupe de {w} ?", "Qui fait {w} ?"), "n"),),
        ),
        "jour": (
            ("{w} : {m}", "{w} le {m}"),
            (("date", ("Quand est {w} ?", "Quelle est la date de {w} ?"), "m"),),
        ),
        "vétérinaire": (
            ("Vétérinaire {d} {t}", "Chat chez le vétérinaire, {d}, {t}"),
            (
                ("date", ("Quel jour est le vétérinaire ?",), "d"),
                ("time", ("À quelle heure est le vétérinaire ?",), "t"),
            ),
        ),
        "caution": (
            ("Caution de {a} rendue par {n}", "Caution {a} ({n})"),
            (
                ("amount", ("De combien était la caution ?",), "a"),
                ("who", ("Qui a rendu la caution ?",), "n"),
            ),
        ),
        "autocar": (
            ("Bus n° {k} à {t}", "Prendre le bus {k}, {t}"),
            (("number", ("Quel bus faut-il prendre ?",), "k"), ("time", ("Quand part le bus ?",), "t")),
        ),
        "chorale": (
            ("Chorale : {m} ({n})", "Chorale reportée au {m}, dit {n}"),
            (
                ("date", ("À quelle date est la chorale ?",), "m"),
                ("who", ("Qui parle de la chorale ?",), "n"),
            ),
        ),
        "rendu": (
            ("{n} a apporté {k} {i}", "{k} {i} de la part de {n}"),
            (
                ("count", ("Combien de {i} ont été apportés ?",), "k"),
                ("who", ("Qui a apporté les {i} ?",), "n"),
            ),
        ),
        "médecin": (
            ("Dr {n} : {p}", "Médecin {n}, tél. {p}"),
            (
                ("phone", ("Quel est le téléphone du médecin ?",), "p"),
                ("who", ("Comment s'appelle le médecin ?",), "n"),
            ),
        ),
    },
}

WORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "headings": ("Buy:", "Shopping", "List", "To get:", "We need"),
        "count": ("How many things are on the list?", "How many items are listed?"),
        "price": ("How much is the {i}?", "What does {i} cost?", "How much for {i}?"),
        "costs": ("What costs {a}?", "Which item is {a}?"),
        "mention": ("Is {w} mentioned?", "Does it mention {w}?", "Is {w} written there?", "Is {w} on it?"),
        "yes": ("Yes",),
        "no": ("No",),
        "absent": ("It does not say.",),
    },
    "fr": {
        "headings": ("Acheter :", "Courses", "Liste", "Il faut"),
        "count": ("Combien de choses sont sur la liste ?", "Combien d'articles y a-t-il ?"),
        "price": ("Combien coûte {i} ?", "Quel est le prix de {i} ?"),
        "costs": ("Qu'est-ce qui coûte {a} ?",),
        "mention": ("Est-ce que {w} est mentionné ?", "Parle-t-on de {w} ?", "Y a-t-il {w} ?"),
        "yes": ("Oui",),
        "no": ("Non",),
        "absent": ("Ce n'est pas écrit.",),
    },
}
"""Lists and their prices, what is mentioned, and what is answered where nothing answers."""
