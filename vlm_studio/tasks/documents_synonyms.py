"""Words that ask for one another: a question rarely uses the words of the page. English and French.

Each line is a group; a word may be in several. Kept small on purpose: a wrong synonym finds a wrong answer.
"""

from __future__ import annotations

GROUPS = """
cost price fee charge amount rate tariff expense payment pay prix cout tarif frais montant couter payer paiement facturer billed
total sum overall altogether grand somme globale ensemble
due payable owed outstanding balance solde exigible du
deadline due expiry expire closing limite echeance submit submission cutoff
begin start commence launch open inception effective debut commencer debuter demarrer ouverture ouvrir effet
end finish conclude terminate close completion expire adjourn lever leve levee fin finir terminer achever cloture fermer fermeture
buy purchase acquire order procure acheter achat acquerir commande commander
sell sale vendor supplier seller vendre vente vendeur fournisseur
order commande purchase
customer client buyer purchaser patron acheteur
author writer write written auteur ecrire ecrit redige redacteur prepare prepared
director head manager chief leader chair chairperson chairman chairwoman president lead boss directeur directrice responsable chef presider presidence presidente dirige diriger
preside chair chaired headed led presided president presidait
employee staff worker personnel employ workforce headcount salarie employe effectif travailleur
salary wage pay remuneration earnings compensation salaire remuneration traitement
employer company firm business organisation organization corporation enterprise societe entreprise firme organisme
invoice bill facture receipt
number no num reference ref id identifier code numero identifiant
venue place site lieu
address located location situated site place lieu adresse situe emplacement venue headquarters siege based
phone telephone tel call mobile contact telephoner appeler portable
email mail courriel e-mail electronique
website site web url internet
meeting session assembly gathering reunion seance assemblee
attend present participate attendee participant assister participer
absent apology apologies excused excuse missing
approve accept adopt agree pass ratify approuver accepter adopter approved voter vote
reject refuse decline deny refuser rejeter
decide resolve decision resolution decider determine
allow permit authorise authorize may entitled autoriser permettre permis authorised permitted
forbid prohibit ban interdire interdit defendre prohibited forbidden banned
must require need mandatory obligatory compulsory necessary obligatoire devoir necessaire requis required
child kid minor enfant mineur
adult grown adulte
old age aged age
student pupil learner eleve etudiant
teacher instructor tutor professor lecturer enseignant professeur instituteur trainer
doctor physician gp medical medecin docteur medecine
patient sick ill illness disease unwell malade maladie
medicine drug medication medicament remede tablet
dose dosage quantity posologie quantite
car vehicle automobile voiture vehicule
house home property dwelling apartment flat residence maison logement appartement bien
contract agreement lease tenancy contrat accord
rent lease tenancy loyer bail louer location rental
tenant lessee renter occupant locataire
own landlord lessor owner proprietaire bailleur
deposit bond security caution depot garantie
repair fix mend maintenance reparer reparation entretien
warranty guarantee coverage garantie
return refund reimburse reimbursement rembourser remboursement retour
cancel cancellation terminate termination withdraw annuler annulation resilier resiliation
notice preavis warning
delivery deliver ship shipping dispatch shipment livraison livrer expedier expedition
weight weigh heavy mass kg poids peser masse
height tall high elevation altitude hauteur haut
length long longueur
width wide broad largeur large
depth deep profondeur profond
distance far length km kilometre miles eloigne
size dimension measure area surface taille superficie
speed fast velocity quick rapid vitesse rapide
temperature heat hot cold degrees oven chaleur four
time hour duration heure duree temps
duration long last period term length duree periode delai
year annual yearly annee an annuel annuelle annuellement
month monthly mois mensuel mensuelle mensuellement
week weekly semaine hebdomadaire
day daily jour quotidien journalier journee
depart departure leave depart partir sortie
arrive arrival reach arrivee arriver
train rail railway line ligne
bus coach autobus autocar
flight plane airplane avion vol
ticket fare billet ticket tarif
increase raise rise grow growth gain climb up augmentation augmenter croissance hausse progression
decrease fall drop decline reduce reduction down baisse diminution diminuer reduire recul
profit earnings income gain benefice resultat
revenue turnover sales income proceeds chiffre recette
loss deficit perte
budget funding fund pay finance allocation budget financement fonds subvention grant
money funds cash argent
transfer pay bank wire virement virer
allow permit tolerate
lend borrow loan preter emprunter pret
subtotal net
roof toit toiture couverture
identify classify classification classifier
unseen held-out test
keep store storage conserver conservation garder
leader captain chief skipper
bank iban account banque compte bancaire
tax vat duty taxe impot tva
discount rebate reduction remise rabais
interest interet
penalty fine late surcharge penalite amende retard
member membre adherent subscription
membership subscription cotisation adhesion abonnement
election elect vote elire elu scrutin
born birth naissance naitre ne nee
die death deceased mort mourir deces decede
marry married marriage wife husband spouse mariage epouse epoux marier
found establish create set creation fonder creer founded established fondation
build construct erect building construire construction bati built
invent discover discovery inventer decouvrir
win winner won award prize gagner gagnant prix laureat
cause reason due because why cause raison motif
result outcome finding conclusion resultat consequence
problem issue fault defect error failure trouble break broken probleme defaut panne erreur
danger hazard risk warning risque danger
safety safe security securite
accident incident injury accident blessure
clean wash cleaning nettoyer laver nettoyage
use used usage utilise utiliser usage employ emploi
contain include consist comprise ingredient composed contenir inclure comprendre composer
ingredient component element ingredient composant
mix stir blend combine whisk melanger remuer incorporer
cook bake boil fry roast cuire cuisson bouillir griller
serve serving portion people yield makes personnes portion servir
breakfast lunch dinner meal food repas dejeuner diner
eat consume manger
drink beverage boisson boire
fridge refrigerator refrigerate cool chill refrigerateur frigo refrigerer
room hall salle piece chambre
floor storey level etage niveau
open opening hours horaire ouverture ouvert
closed shut closing fermeture ferme
holiday vacation leave conge vacances ferie
free gratis gratuit complimentary
replace substitute change remplacer remplacement changer
install fit mount set installation installer monter montage
connect plug attach link brancher connecter relier
switch turn toggle button press appuyer bouton allumer eteindre
battery charge power batterie pile charger recharge
device machine appliance unit equipment appareil machine dispositif
capacity volume hold contain capacite contenance
material made fabric substance matiere materiau
colour color couleur
sample specimen participant subject echantillon
study research survey experiment investigation work etude enquete recherche experience trial
method technique procedure process approach methode procedure
measure measured recorded observed mesure mesurer
average mean moyenne moyen
biggest largest greatest main principal major plus
maximum max most highest largest upper limit maximum plus
minimum min least lowest smallest minimum moins
percent percentage share proportion rate pourcentage pour-cent part taux
population inhabitants people residents habitants population
city town municipality ville commune
country nation state pays
village hamlet village
river stream fleuve riviere
mountain peak summit montagne sommet
school college university ecole lycee universite
library bibliotheque
book volume work livre ouvrage
letter note mail lettre courrier
sign signed signature signer signataire sincerely faithfully regards salutations cordialement sender
send sent forward post envoyer envoi transmettre
receive receipt get recevoir reception
contact reach person contacter joindre
complain complaint claim grievance reclamation plainte
law laws legislation govern governed loi droit
dispute court jurisdiction law litige tribunal juridiction
insurance insure cover insured assurance assurer
confidential confidentiality secret nda confidentialite
intellectual copyright property rights droits
data information record donnees information
password login credential mot-de-passe
parking park car stationnement garer
garden yard jardin
dog pet animal chien animaux
smoke smoking tobacco fumer tabac
noise loud noisy bruit
guest visitor visiteur invite hote
project programme program scheme projet programme
task action job responsible tache
work job task labour travail
next following upcoming prochain suivant prochaine
previous last earlier prior precedent precedente dernier
secretary clerk minutes secretaire greffier
treasurer tresorier tresoriere
mayor maire
name called title nom appele intitule nomme
type kind sort category sorte categorie
supervise oversee supervisor encadrer superviser tuteur
hire recruit appoint recruter embaucher nommer appointed
quit resign retire demissionner retraite
probation trial essai
overtime extra supplementaire supplementaires
break rest pause
bicycle bike cycle velo
boat ship vessel bateau navire
swim pool swimming piscine nager
exam test examination examen epreuve
grade mark score note
subject topic theme objet sujet
goal objective aim purpose target but objectif cible
water eau
electricity electric power energy electricite energie electrique
gas gaz
oil huile petrole
light lamp bulb lumiere lampe ampoule
key cle clef
door porte
window fenetre
road street rue route
bridge pont
station gare
hospital clinic hopital clinique
shop store magasin boutique
kitchen cuisine
flour farine
sugar sucre
butter beurre
egg oeuf
milk lait
salt sel
""".strip()


def groups() -> tuple[frozenset[str], ...]:
    """Folded words of each group."""
    return tuple(frozenset(line.split()) for line in GROUPS.splitlines())
