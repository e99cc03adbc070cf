"""More documents to tune on (CC0-1.0, written for this benchmark; names are made up)."""

from __future__ import annotations

FACTURE = """
<h1>FACTURE</h1><p><b>Imprimerie Delmas SARL</b><br>3, rue des Tanneurs, 87000 Limoges<br>SIRET 512 884 070 00019 · Tél. 05 55 55 01 48</p>
<table><tr><td>Facture n°</td><td>F-2023-1142</td></tr><tr><td>Date</td><td>3 octobre 2023</td></tr><tr><td>Échéance</td><td>2 novembre 2023</td></tr><tr><td>Client</td><td>Lycée Maryse-Bastié</td></tr></table>
<table class="ruled"><tr><th>Désignation</th><th>Quantité</th><th>Prix unitaire</th><th>Montant HT</th></tr>
<tr><td>Affiches A2, quadrichromie</td><td>150</td><td>1,80 €</td><td>270,00 €</td></tr><tr><td>Dépliants trois volets</td><td>2 000</td><td>0,19 €</td><td>380,00 €</td></tr>
<tr><td>Mise en page</td><td>4 h</td><td>55,00 €</td><td>220,00 €</td></tr><tr><td>Total HT</td><td></td><td></td><td>870,00 €</td></tr><tr><td>TVA 20 %</td><td></td><td></td><td>174,00 €</td></tr>
<tr><td>Net à payer</td><td></td><td></td><td>1 044,00 €</td></tr></table><p>Règlement par virement à 30 jours. Escompte de 2 % pour paiement sous huit jours. Livraison effectuée le 28 septembre 2023.</p>
"""

SERVICE = """
<h1>Service Agreement</h1><p>between Alder &amp; Finch Cleaning Services ("Contractor") and Brookfield Dental Practice ("Client"), dated 4 January 2021.</p>
<h2>Article 1. Services</h2><p>The Contractor cleans the premises at 77 Orchard Street every weekday after 7 p.m. Windows are washed four times a year. Medical waste is not handled by the Contractor.</p>
<h2>Article 2. Fees</h2><p>The Client pays a flat fee of $1,480 per month. Additional work is billed at $32 per hour. Invoices are payable within 21 days.</p>
<h2>Article 3. Staff</h2><p>The Contractor assigns two trained cleaners and names Ms Paulina Reyes as supervisor. All staff undergo a background check before they begin.</p>
<h2>Article 4. Liability</h2><p>The Contractor is liable for damage up to $250,000 per incident and keeps insurance with Meridian Mutual. Claims have to be notified within five working days.</p>
<h2>Article 5. Duration and termination</h2><p>The agreement starts on 1 February 2021 and is concluded for two years. It renews itself by twelve months unless one party cancels it ninety days before the end.
In case of serious breach it may be ended at once.</p><h2>Article 6. Keys and confidentiality</h2><p>The Contractor receives three sets of keys. Patient records must not be opened, copied or moved. This duty continues for ten years after the agreement ends.</p>
<h2>Article 7. Law</h2><p>This agreement is governed by the laws of the State of Oregon. Disputes are brought before the courts of Multnomah County.</p>
"""

REPORT = [
    """
<h1>Solvane Energy — Annual Report 2022</h1><h2>Letter from the chief executive</h2><p>2022 was a demanding year. Turnover rose by 8 per cent to 412 million euros, while net profit fell to 21.6 million because gas prices tripled in autumn. We connected 18,300
new households and opened our largest wind farm at Cape Morrow. Our 1,940 employees deserve thanks. <i>Rosalind Achterberg</i></p>
<h2>Key figures</h2><table class="ruled"><tr><th></th><th>2020</th><th>2021</th><th>2022</th></tr><tr><td>Revenue (million €)</td><td>366</td><td>381</td><td>412</td></tr>
<tr><td>Net profit (million €)</td><td>25.1</td><td>27.9</td><td>21.6</td></tr><tr><td>Employees</td><td>1,788</td><td>1,865</td><td>1,940</td></tr><tr><td>CO2 (thousand tonnes)</td><td>640</td><td>598</td><td>511</td></tr></table>
""",
    """
<h2>Wind</h2><p>The farm at Cape Morrow has 34 turbines with a combined capacity of 142 megawatts. Construction took 26 months and cost 198 million euros. A fault in the export cable stopped deliveries for nine days in November.</p>
<h2>Networks</h2><p>The average interruption was 11.4 minutes per customer, the lowest figure in the company's history. We replaced 230 kilometres of overhead line by buried cable.</p>
<h2>Outlook</h2><p>For 2023 we expect revenue of between 430 and 450 million euros. The board proposes a dividend of 0.85 euros per share. A battery plant in Eisendorf is to begin operation in the second quarter of 2024.</p>
""",
    """
<h2>Governance</h2><p>The supervisory board met seven times. It is chaired by Professor Emil Strand. Ms Nadia Kowalczyk joined it in May; Mr Pieter Vos stepped down for reasons of health. The auditor, Halden &amp; Partners, issued an unqualified opinion on 14 March 2023.</p>
<h2>Risks</h2><p>The greatest risk is the price of natural gas. A rise of ten per cent lowers the result by about 3 million euros. Currency risk is negligible. Two lawsuits about noise are pending before the court in Ostrava.</p>
""",
]

LEAFLET_FR = """
<h1>Notice : information de l'utilisateur — Calmisol 250 mg, comprimé</h1><h2>1. Qu'est-ce que Calmisol ?</h2><p>Calmisol est un antalgique. Il est utilisé pour soulager les douleurs légères, comme les maux de tête, et pour faire baisser la fièvre.</p>
<h2>2. Avant de prendre ce médicament</h2><p>Ne prenez jamais Calmisol si vous souffrez d'une maladie grave du foie. L'alcool est déconseillé pendant le traitement. Ce médicament est réservé à l'adulte et à l'enfant de plus de 27 kg. Demandez l'avis de votre
médecin en cas de grossesse.</p><h2>3. Comment prendre Calmisol ?</h2><p>La dose habituelle est d'un à deux comprimés par prise, à renouveler au bout de six heures. Ne dépassez pas huit comprimés par jour. Avalez les comprimés avec un verre d'eau. Si la douleur persiste
plus de cinq jours, consultez un médecin.</p><h2>4. Effets indésirables</h2><p>Dans de rares cas, une éruption de la peau peut apparaître. Il faut alors arrêter immédiatement le traitement. Une fatigue passagère touche environ 3 % des patients.</p>
<h2>5. Conservation</h2><p>À conserver à une température inférieure à 25 °C, à l'abri de l'humidité. Ne pas utiliser après la date indiquée sur la boîte. Fabricant : Laboratoires Hennequin, Dijon.</p>
"""

PROGRAMME = """
<h1>Open Archives Conference 2025</h1><p>Held at the Maritime Academy, Split, from 9 to 11 June 2025. The conference fee is 240 euros, reduced to 90 euros for students. Registration closes on 20 May.</p>
<h2>Monday</h2><table class="ruled"><tr><th>Time</th><th>Session</th><th>Speaker</th><th>Room</th></tr><tr><td>09:30</td><td>Welcome</td><td>Jelena Marić</td><td>Aula</td></tr><tr><td>10:00</td><td>Reading damaged registers</td><td>Oskar Nyholm</td><td>Aula</td></tr>
<tr><td>11:30</td><td>Metadata without tears</td><td>Priscilla Adu</td><td>B12</td></tr><tr><td>14:00</td><td>Film on nitrate</td><td>Georges Laforêt</td><td>Cinema</td></tr><tr><td>16:15</td><td>Rights of the dead</td><td>Amira Haddad</td><td>C3</td></tr></table>
<h2>Practical</h2><p>Lunch is served in the refectory between 12:30 and 13:45. Bus 8 runs from the ferry port to the academy every twenty minutes. The conference dinner on Tuesday costs 45 euros and is not included in the fee. Slides have to be
handed in one day before the talk. Wireless network: OAC-Guest, no password.</p>
"""

SCAN_FR = """
<p>Mairie de Saint-Aubin-des-Prés<br>Service de l'urbanisme</p><p>Le 22 avril 2022</p><p>Madame Lecointre,</p><h2>Objet : votre demande de permis de construire</h2><p>Votre dossier n° PC 0372 22 B0041, déposé le 8 avril, a bien été enregistré. Le délai d'instruction est de deux mois
pour une maison individuelle. Sans réponse de notre part au 8 juin, le permis sera considéré comme accordé.</p><p>Toutefois, il manque à votre dossier le plan de masse et une photographie du terrain. Nous vous remercions de les faire parvenir avant le 6 mai en trois exemplaires.</p>
<p>La taxe d'aménagement est estimée à 4 120 euros. Pour tout renseignement, adressez-vous à M. Thibault Garrec, le mardi et le jeudi de 9 h à 12 h, au bureau 14.</p><p>Veuillez agréer, Madame, mes salutations distinguées.</p><p>Le maire, Solange Kervadec</p>
"""

SCHOOL = """
<h1>Summer Sailing School — Information for Parents</h1><h2>Courses</h2><table class="ruled"><tr><th>Course</th><th>Age</th><th>Weeks</th><th>Price</th></tr><tr><td>Minnows</td><td>7-9</td><td>1</td><td>$310</td></tr><tr><td>Dolphins</td><td>10-12</td><td>2</td><td>$560</td></tr>
<tr><td>Skippers</td><td>13-16</td><td>2</td><td>$640</td></tr><tr><td>Racing</td><td>14-17</td><td>3</td><td>$990</td></tr></table>
<h2>What to bring</h2><ul><li>a towel and spare clothes</li><li>shoes that may get wet</li><li>a hat and sun cream</li><li>a packed lunch</li></ul><p>Life jackets are lent by the school. Every child must be able to swim 50 metres.</p>
<h2>Organisation</h2><p>Boats leave the jetty at 9:15 sharp and come back at about 15:30. If the wind is stronger than force six, there is theory in the boathouse instead. The school is led by Captain Leonie Abreu. In an emergency ring 555-0163.</p>
<h2>Payment</h2><p>A quarter of the price is due on enrolment, the rest two weeks before the course. Families with two or more children get 10% off. Anyone who withdraws later than 1 June forfeits the deposit.</p>
"""

DRAWN = [
    "CITY OF HARWICK - PUBLIC LIBRARY RULES",
    "",
    "1. Membership is free for residents. Others pay 25 dollars a year.",
    "2. Up to eight items may be borrowed at the same time. Books are lent for 28",
    "   days, films and games for 7 days. A loan can be renewed twice unless some-",
    "   body else has reserved the item.",
    "3. The charge for overdue books is 15 cents a day, with a limit of 6 dollars",
    "   for each item. Children do not pay fines.",
    "4. A lost item is charged at its price plus a handling fee of 4 dollars.",
    "5. Eating is not allowed in the reading room. Covered drinks are tolerated.",
    "6. The study rooms can be reserved for two hours at a time; call 555-0129.",
    "7. Computers: 60 minutes per day and person. Printing costs 10 cents a sheet.",
    "",
    "Opening hours",
    "Monday          closed",
    "Tuesday         10:00 - 19:00",
    "Wednesday       10:00 - 17:00",
    "Saturday        9:00 - 14:00",
    "",
    "The library was founded in 1907 by the merchant Albert Penrose.",
    "Head librarian: Josephine Quarles",
]

QUESTIONS = [
    ("facture_fr.pdf", "Quel est le numéro de la facture ?", ["F-2023-1142"], 1),
    ("facture_fr.pdf", "Combien faut-il payer en tout ?", ["1 044,00"], 1),
    ("facture_fr.pdf", "Quelle est la date limite de paiement ?", ["2 novembre 2023"], 1),
    ("facture_fr.pdf", "Combien d'affiches ont été imprimées ?", ["150"], 1),
    ("facture_fr.pdf", "Quand la commande a-t-elle été livrée ?", ["28 septembre 2023"], 1),
    ("facture_fr.pdf", "Quel est le prix d'un dépliant ?", ["0,19"], 1),
    ("facture_fr.pdf", "Quel est le nom du directeur de l'imprimerie ?", None, 0),
    ("service.pdf", "How much does the dental practice pay every month?", ["1,480"], 0),
    ("service.pdf", "Who supervises the cleaners?", ["Paulina Reyes"], 0),
    ("service.pdf", "When does the agreement take effect?", ["1 February 2021"], 0),
    ("service.pdf", "How far in advance must the contract be cancelled?", ["ninety days"], 0),
    ("service.pdf", "Which company insures the contractor?", ["Meridian Mutual"], 0),
    ("service.pdf", "How many sets of keys are handed over?", ["three"], 0),
    ("service.pdf", "Which state's law applies?", ["Oregon"], 0),
    ("service.pdf", "How often are the windows cleaned?", ["four times a year"], 0),
    ("service.pdf", "What is the email address of the contractor?", None, 0),
    ("service.pdf", "How many square feet does the practice have?", None, 0),
    ("report.pdf", "What was the revenue in 2021?", ["381"], 1),
    ("report.pdf", "How many people worked for the company in 2020?", ["1,788"], 1),
    ("report.pdf", "How many turbines does the wind farm have?", ["34"], 2),
    ("report.pdf", "How long did it take to build the farm at Cape Morrow?", ["26 months"], 2),
    ("report.pdf", "Who is the chairman of the supervisory board?", ["Emil Strand"], 3),
    ("report.pdf", "What dividend is proposed?", ["0.85"], 2),
    ("report.pdf", "Why did the profit fall?", ["gas prices"], 1),
    ("report.pdf", "When will the battery plant start operating?", ["second quarter of 2024"], 2),
    ("report.pdf", "What is the biggest risk?", ["natural gas"], 3),
    ("report.pdf", "Which firm audited the accounts?", ["Halden"], 3),
    ("report.pdf", "How much was donated to charity?", None, 0),
    ("report.pdf", "What is the salary of the chief executive?", None, 0),
    ("leaflet_fr.pdf", "Combien de comprimés peut-on prendre au maximum par jour ?", ["huit comprimés"], 0),
    ("leaflet_fr.pdf", "À quoi sert Calmisol ?", ["soulager les douleurs"], 0),
    ("leaflet_fr.pdf", "À quelle température faut-il le conserver ?", ["25 °C"], 0),
    ("leaflet_fr.pdf", "Qui fabrique ce médicament ?", ["Hennequin"], 0),
    ("leaflet_fr.pdf", "Peut-on boire de l'alcool ?", ["déconseillé"], 0),
    ("leaflet_fr.pdf", "Quel est le prix de la boîte ?", None, 0),
    ("programme.pdf", "Who speaks about film on nitrate?", ["Georges Laforêt"], 1),
    ("programme.pdf", "In which room is the talk on metadata?", ["B12"], 1),
    ("programme.pdf", "How much do students pay?", ["90 euros"], 1),
    ("programme.pdf", "When does registration end?", ["20 May"], 1),
    ("programme.pdf", "At what time is the session about the rights of the dead?", ["16:15"], 1),
    ("programme.pdf", "Which bus goes to the venue?", ["Bus 8"], 1),
    ("programme.pdf", "Who is the keynote speaker on Wednesday?", None, 0),
    ("scan_fr.pdf", "Quelle est la date limite pour envoyer les pièces manquantes ?", ["6 mai"], 1),
    ("scan_fr.pdf", "Quel est le délai d'instruction ?", ["deux mois"], 1),
    ("scan_fr.pdf", "À combien est estimée la taxe d'aménagement ?", ["4 120"], 1),
    ("scan_fr.pdf", "Qui est le maire ?", ["Kervadec"], 1),
    ("scan_fr.pdf", "Quelle est la surface du terrain ?", None, 0),
    ("school.pdf", "What does the racing course cost?", ["990"], 1),
    ("school.pdf", "How old must a child be for Skippers?", ["13-16"], 1),
    ("school.pdf", "How far must children be able to swim?", ["50 metres"], 1),
    ("school.pdf", "Who runs the school?", ["Leonie Abreu"], 1),
    ("school.pdf", "What happens when there is too much wind?", ["theory in the boathouse"], 1),
    ("school.pdf", "What reduction do families with two children receive?", ["10%"], 1),
    ("school.pdf", "Is there a course for adults?", None, 0),
    ("drawn.pdf", "How long can books be borrowed?", ["28"], 1),
    ("drawn.pdf", "How much do non-residents pay?", ["25 dollars"], 1),
    ("drawn.pdf", "When does the library close on Saturday?", ["14:00"], 1),
    ("drawn.pdf", "Who founded the library?", ["Albert Penrose"], 1),
    ("drawn.pdf", "What is the fine for a book returned late?", ["15 cents"], 1),
    ("drawn.pdf", "How many books does the library own?", None, 0),
    ("letter.jpg", "When will Eleanor come?", ["third of September"], 1),
    ("letter.jpg", "How many kilos will the pear tree carry?", ["forty"], 1),
    ("letter.jpg", "What is Margaret thanked for?", ["photographs"], 1),
    ("letter.jpg", "What is Margaret's address?", None, 0),
    ("licence.pdf", 'What does "The Program" refer to?', ["copyrightable work"], 0),
    ("licence.pdf", "Who published this license?", ["Free Software Foundation"], 0),
    ("licence.pdf", "How many years must the written offer for the source be valid?", ["three years"], 0),
    (
        "licence.pdf",
        "Within how many days must a first-time violation be cured after notice?",
        ["30 days"],
        0,
    ),
    ("licence.pdf", "What is the price of a commercial license?", None, 0),
]
