"""Documents of the held-out half (CC0-1.0, written for this benchmark; names are made up). Failures on them are not
looked at: their figures are the ones that are reported."""

from __future__ import annotations

POLICY = [
    """
<h1>Home Contents Insurance — Policy Summary</h1><p>Policy holder: Mr Desmond Achebe · Policy no. HC-90277-B · Valid from 1 July 2024 to 30 June 2025</p>
<h2>What is insured</h2><p>Furniture, clothing and household goods are covered up to 45,000 dollars. Jewellery is covered up to 3,000 dollars and cash up to 400 dollars. Bicycles are insured only if they were locked.</p>
<h2>Perils</h2><table class="ruled"><tr><th>Event</th><th>Covered</th><th>Excess</th></tr><tr><td>Fire and lightning</td><td>yes</td><td>none</td></tr><tr><td>Burglary</td><td>yes</td><td>$250</td></tr><tr><td>Burst pipe</td><td>yes</td><td>$150</td></tr><tr><td>Flood</td><td>no</td><td>-</td></tr></table>
""",
    """
<h2>Premium</h2><p>The annual premium is 318 dollars and is collected on 15 July. Paying in quarterly instalments costs 4% more. The first reminder is free; each further one is charged at 5 dollars.</p>
<h2>Making a claim</h2><p>Tell us about a loss within seven days. Thefts must also be reported to the police without delay. Send photographs and receipts to claims@larkmutual.example. Our adjuster is Ms Greta Nowak. We settle most claims inside three weeks.</p>
<h2>Cancelling</h2><p>You may withdraw within 14 days of receiving the policy. After that it ends at the close of the insurance year if you give one month's notice.</p>
""",
]

RESEARCH = """
<h1>Growing lettuce on rooftop gravel: a two-year trial</h1><p><i>Yusuf Demir and Clara Engström, Department of Horticulture, Malmö</i></p>
<h2>Summary</h2><p>Flat roofs could feed cities. We compared three substrates on the roof of a car park in Malmö. Pumice gave the largest harvest, 3.9 kg per square metre, against 2.7 kg for brick rubble and 1.8 kg for plain gravel. Water use was cut by half with drip lines.</p>
<h2>Site and design</h2><p>The roof lies 18 metres above the street and carries 24 beds of four square metres each. Seedlings of the variety Frillice were planted on 2 May. Temperature was logged every ten minutes. Each treatment was repeated eight times.</p>
<h2>Observations</h2><p>The hottest day reached 36 degrees, and one in five plants bolted during that week. Aphids appeared in June and were controlled with ladybirds. Heavy metals stayed below the legal limits; lead was highest with brick rubble, at 0.08 mg per kilogram.</p>
<table class="ruled"><tr><th>Substrate</th><th>Weight wet (kg/m²)</th><th>Price per bed</th></tr><tr><td>Pumice</td><td>95</td><td>€148</td></tr><tr><td>Brick rubble</td><td>131</td><td>€61</td></tr><tr><td>Gravel</td><td>166</td><td>€39</td></tr></table>
<h2>Conclusion</h2><p>Pumice is light and productive but dear. We suggest mixing it with compost. Winter crops were not tested. The trial was paid for by the city's climate office.</p>
"""

VOYAGE_FR = """
<h1>Contrat de voyage</h1><p>Agence Horizon Bleu, 21 boulevard Carnot, 06400 Cannes — licence IM 006 11 0024</p><p>Entre l'agence et Mme Éloïse Maréchal, il est convenu ce qui suit :</p>
<h2>Article 1 – Objet</h2><p>L'agence organise un circuit de onze jours en Islande pour deux personnes, du 6 au 16 juillet 2024. L'hébergement se fait en pension de famille, petit-déjeuner compris.</p>
<h2>Article 2 – Prix</h2><p>Le prix total est de 5 380 euros. Un acompte de 30 % est versé à la signature ; le reste est dû le 5 juin au plus tard. Les repas du soir et les boissons ne sont pas inclus.</p>
<h2>Article 3 – Transport</h2><p>Départ de Nice le 6 juillet à 7 h 25 avec le vol FI 571. Chaque voyageur a droit à un bagage de 23 kg. Une voiture à quatre roues motrices est mise à disposition à l'aéroport.</p>
<h2>Article 4 – Annulation</h2><p>En cas d'annulation plus de soixante jours avant le départ, l'agence retient 150 euros. Ensuite, la moitié du prix reste acquise. L'assurance contre l'annulation coûte 96 euros.</p>
<h2>Article 5 – Assistance</h2><p>Sur place, votre correspondante est Mme Sigrún Jónsdóttir, joignable jour et nuit au +354 555 0190.</p>
"""

CATALOGUE = """
<h1>Spring Bulb List 2025</h1><table class="ruled"><tr><th>Variety</th><th>Colour</th><th>Height</th><th>Flowers</th><th>Price per 10</th></tr>
<tr><td>Tulip Night Rider</td><td>purple</td><td>45 cm</td><td>April</td><td>£4.20</td></tr><tr><td>Tulip Sunny Prince</td><td>yellow</td><td>35 cm</td><td>March</td><td>£3.60</td></tr>
<tr><td>Narcissus Thalia</td><td>white</td><td>30 cm</td><td>April</td><td>£3.90</td></tr><tr><td>Crocus Pickwick</td><td>striped</td><td>10 cm</td><td>February</td><td>£1.80</td></tr>
<tr><td>Allium Gladiator</td><td>violet</td><td>120 cm</td><td>June</td><td>£18.50</td></tr></table>
<p>Orders over £30 are sent without postage. Bulbs are dispatched from the second week of September. Plant them at three times their own depth. We replace any bulb that does not come up in the first season.</p>
"""

MEMO_SCAN = """
<p>MEMORANDUM</p><p>To: All laboratory staff<br>From: Dr Winifred Osei, safety officer<br>Date: 19 September 2021</p><h2>Subject: move of the chemical store</h2>
<p>The solvents will be moved from room 114 to the new store in the basement on 4 October. The lift will be closed to passengers that day from 7:30 until noon. Please label every bottle by the end of this week; unlabelled ones will be destroyed.</p>
<p>Acids stay where they are until the ventilation has been approved. The new store has a capacity of 600 litres, twice that of the old one. The door code is changed every month and may be obtained from Mr Lloyd Jernigan.</p><p>In case of a spill, leave the room and dial 2222. A drill will be held on 12 October.</p>
"""

REGLEMENT = """
<h1>Règlement de la piscine municipale</h1><h2>Horaires</h2><table class="ruled"><tr><th>Jour</th><th>Ouverture</th><th>Fermeture</th></tr><tr><td>Lundi</td><td>12 h 00</td><td>19 h 30</td></tr><tr><td>Mercredi</td><td>9 h 00</td><td>20 h 00</td></tr><tr><td>Samedi</td><td>10 h 00</td><td>18 h 00</td></tr></table>
<h2>Tarifs</h2><p>L'entrée coûte 3,70 euros pour les adultes et 2,10 euros pour les moins de seize ans. La carte de dix entrées est vendue 31 euros et reste valable un an.</p>
<h2>Règles</h2><p>Le bonnet de bain est obligatoire. Les enfants de moins de huit ans doivent être accompagnés. Il est interdit de courir au bord du bassin. La profondeur du grand bain est de 2,80 mètres. L'eau est chauffée à 28 degrés.</p>
<p>Le bassin est vidé et nettoyé deux fois par an. Le responsable de l'établissement est M. Cyrille Desbois.</p>
"""

DRAWN = [
    "RIVERBEND COMMUNITY GARDEN - NEWSLETTER NO. 27",
    "",
    "Dear gardeners,",
    "the frost of April 21 destroyed nearly a third of the early potatoes. Luckily the",
    "greenhouse heater, repaired by Olga Petrenko, kept the tomatoes alive. New plots",
    "measure five by eight meters and are let for 60 dollars a season. Fourteen fami-",
    "lies are on the waiting list.",
    "",
    "Dates",
    "May 4      plant swap, 10 a.m., barn",
    "May 18     lecture on composting by Prof. Ikeda",
    "June 1     water is turned on",
    "",
    "Hoses may be used in the evening only. Whoever damages a tool pays for it.",
    "The shed key hangs behind the notice board. Treasurer: Malcolm Price,",
    "malcolm@riverbend.example",
]

QUESTIONS = [
    ("policy.pdf", "What is the policy number?", ["HC-90277-B"], 1),
    ("policy.pdf", "Up to what amount is jewellery insured?", ["3,000"], 1),
    ("policy.pdf", "How much is the excess for a burglary?", ["250"], 1),
    ("policy.pdf", "Does the insurance pay for flood damage?", ["Flood no"], 1),
    ("policy.pdf", "What does the insurance cost per year?", ["318 dollars"], 2),
    ("policy.pdf", "How soon must a loss be reported?", ["seven days"], 2),
    ("policy.pdf", "To which email address are receipts sent?", ["claims@larkmutual.example"], 2),
    ("policy.pdf", "When does the policy expire?", ["30 June 2025"], 1),
    ("policy.pdf", "Who is the adjuster?", ["Greta Nowak"], 2),
    ("policy.pdf", "What is the annual premium for car insurance?", None, 0),
    ("policy.pdf", "How many rooms does the house have?", None, 0),
    ("research.pdf", "Which substrate produced the highest yield?", ["Pumice"], 0),
    ("research.pdf", "How high above the street is the roof?", ["18 metres"], 0),
    ("research.pdf", "When were the seedlings planted?", ["2 May"], 0),
    ("research.pdf", "How were the aphids fought?", ["ladybirds"], 0),
    ("research.pdf", "What does a bed of brick rubble cost?", ["61"], 0),
    ("research.pdf", "How many beds were there?", ["24"], 0),
    ("research.pdf", "Who financed the trial?", ["climate office"], 0),
    ("research.pdf", "What was the maximum temperature?", ["36 degrees"], 0),
    ("research.pdf", "How many tomatoes were harvested?", None, 0),
    ("voyage_fr.pdf", "Combien coûte le voyage ?", ["5 380"], 0),
    ("voyage_fr.pdf", "Combien de temps dure le circuit ?", ["onze jours"], 0),
    ("voyage_fr.pdf", "À quelle heure part l'avion ?", ["7 h 25"], 0),
    ("voyage_fr.pdf", "Quel est le poids maximal du bagage ?", ["23 kg"], 0),
    ("voyage_fr.pdf", "Quand faut-il payer le solde ?", ["5 juin"], 0),
    ("voyage_fr.pdf", "Les repas du soir sont-ils compris ?", ["ne sont pas inclus"], 0),
    ("voyage_fr.pdf", "Qui contacter sur place ?", ["Sigrún"], 0),
    ("voyage_fr.pdf", "Quel est le numéro de passeport de la cliente ?", None, 0),
    ("catalogue.pdf", "How tall is Allium Gladiator?", ["120 cm"], 1),
    ("catalogue.pdf", "What colour is Tulip Sunny Prince?", ["yellow"], 1),
    ("catalogue.pdf", "When does Crocus Pickwick bloom?", ["February"], 1),
    ("catalogue.pdf", "From what order value is delivery free?", ["30"], 1),
    ("catalogue.pdf", "How deep should bulbs be planted?", ["three times"], 1),
    ("catalogue.pdf", "What is the price of a rose bush?", None, 0),
    ("memo_scan.pdf", "Who wrote the memorandum?", ["Winifred Osei"], 1),
    ("memo_scan.pdf", "Where will the solvents be stored?", ["basement"], 1),
    ("memo_scan.pdf", "When does the drill take place?", ["12 October"], 1),
    ("memo_scan.pdf", "What number should be dialled after a spill?", ["2222"], 1),
    ("memo_scan.pdf", "How much can the new store hold?", ["600 litres"], 1),
    ("memo_scan.pdf", "What did the new store cost?", None, 0),
    ("reglement_fr.pdf", "À quelle heure ferme la piscine le mercredi ?", ["20 h 00"], 1),
    ("reglement_fr.pdf", "Combien paie un adulte ?", ["3,70"], 1),
    ("reglement_fr.pdf", "Le bonnet est-il obligatoire ?", ["bonnet de bain est obligatoire"], 1),
    ("reglement_fr.pdf", "Quelle est la température de l'eau ?", ["28 degrés"], 1),
    ("reglement_fr.pdf", "Quelle est la profondeur du bassin ?", ["2,80"], 1),
    ("reglement_fr.pdf", "Combien de maîtres-nageurs y a-t-il ?", None, 0),
    ("drawn2.pdf", "Who fixed the heater?", ["Olga Petrenko"], 1),
    ("drawn2.pdf", "How large are the new plots?", ["five by eight"], 1),
    ("drawn2.pdf", "How many families are waiting for a plot?", ["Fourteen"], 1),
    ("drawn2.pdf", "When is the talk about compost?", ["May 18"], 1),
    ("drawn2.pdf", "Where is the key to the shed?", ["behind the notice board"], 1),
    ("drawn2.pdf", "How much did the greenhouse cost?", None, 0),
]
