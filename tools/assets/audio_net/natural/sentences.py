"""Language → random sentences to speak, from our own templates and words: some ten thousand per language.

Everyday prose with all the sounds of a language in ordinary places. Questions, exclamations and asides vary the melody.
"""
# ruff: noqa: E501

from __future__ import annotations

import re

import numpy as np

# A language's templates, and the words that fill each {slot}, separated by "|".
_TEMPLATES: dict[str, str] = {
    "en-us": (
        "{who} {did} {thing} {when}.|{when}, {who} {did} {thing}.|I {think} {who} {did} {thing}.|Did you know that {who} {did} {thing}?"
        "|{well}, {who} {did} {thing}, but {clause}.|Why would anybody look for {thing} {where}?|{clause}, so we {went} {where}."
        "|If {clause}, please bring {thing} {where}.|We {went} {where} {when}, and {clause}.|{well}, {clause}!"
        "|What a {good} idea: {thing} {where}!|It was a {good} {noun}, and {clause}.|The {noun} {where} was {good}, {think2}."
        "|How {good} is the {noun} that {who} {did2} {when}?|There are {number} {plural} {where}.|She counted {number} {plural}, then {number} more."
        "|You {should} never {do} {thing} {where}.|Could you {do} {thing} {when}, please?|{who} {should} {do} {thing} because {clause}."
        "|Okay, let's {do} {thing} first.|No, no, the {noun}, not the {noun}.|{plural}, {plural} and {plural}: nothing else."
        "|Whoever {did} {thing} {when} {should} {do} it again.|Hello, my name is {name}, and I {love} {plural}."
        "|{name} asked {name} to {do} {thing}.|That's {good}, {name}, really {good}.|Thank you, {name}. Now {do} {thing}."
    ),
    "de": (
        "{who} hat {thing} {when} {done}.|{when} hat {who} {thing} {done}.|Ich glaube, {who} hat {thing} {done}.|Hat {who} {thing} wirklich {done}?"
        "|{well}, {clause}, und {clause2}.|Warum steht {thing} {where}?|Wir haben {where} {thing} {done}.|Bitte vergiss nicht, {thing} mitzubringen."
        "|{where} gibt es {number} {plural}.|{who} möchte {thing} haben, aber {clause}.|Das ist eine {good} Idee, {name}!|{name} und {name} suchen {thing}."
        "|Hallo, ich heiße {name} und mag {plural}.|Wie {good2} {clause}!|{plural}, {plural} und sonst nichts.|Wenn {who} kommt, essen wir {plural}."
        "|Kannst du mir {thing} {when} zeigen?|{clause}. {clause}."
    ),
    "fr": (
        "{who} a {done} {thing} {when}.|{when}, {who} a {done} {thing}.|Je crois que {who} a {done} {thing}.|Est-ce que {who} a {done} {thing} ?"
        "|{well}, {clause}, et {clause}.|Pourquoi chercher {thing} {where} ?|Nous avons {done} {thing} {where}.|N'oublie pas {thing}, s'il te plaît."
        "|Il y a {number} {plural} {where}.|{who} voudrait {thing}, mais {clause}.|Quelle {good} idée, {name} !|{name} et {name} cherchent {thing}."
        "|Bonjour, je m'appelle {name} et j'aime les {plural}.|Des {plural}, des {plural} et rien d'autre.|Si {who} arrive, on mange des {plural}."
        "|Tu peux me montrer {thing} {when} ?|{clause}. {clause}."
    ),
    "es": (
        "{who} ha {done} {thing} {when}.|{when}, {who} ha {done} {thing}.|Creo que {who} ha {done} {thing}.|¿{who} ha {done} {thing}?"
        "|{well}, {clause}, y {clause}.|¿Por qué buscas {thing} {where}?|Hemos {done} {thing} {where}.|No olvides {thing}, por favor."
        "|Hay {number} {plural} {where}.|{who} quiere {thing}, pero {clause}.|¡Qué {good} idea, {name}!|{name} y {name} buscan {thing}."
        "|Hola, me llamo {name} y me gustan las {plural}.|{plural}, {plural} y nada más.|Si viene {who}, comemos {plural}."
        "|¿Me enseñas {thing} {when}?|{clause}. {clause}."
    ),
    "it": (
        "{who} ha {done} {thing} {when}.|{when}, {who} ha {done} {thing}.|Credo che {who} abbia {done} {thing}.|Ma {who} ha {done} {thing}?"
        "|{well}, {clause}, e {clause}.|Perché cerchi {thing} {where}?|Abbiamo {done} {thing} {where}.|Ci sono {number} {plural} {where}."
        "|{who} vuole {thing}, ma {clause}.|Che {good} idea, {name}!|Ciao, mi chiamo {name} e mi piacciono le {plural}.|{clause}. {clause}."
    ),
}  # fmt: skip

_WORDS: dict[str, dict[str, str]] = {
    "en-us": {
        "who": "my mother|the old captain|a famous composer|your youngest brother|our new neighbour|the boy with the blue cap|everybody|Doctor Webber|the woman from Wyoming|a very tall waiter|the whole village|one of the farmers|Uncle Joe|a stranger|the teacher|my best friend Paul|the mayor of Boston|the chef|nobody here|the fireman|Grandma|a young musician|the fox|some other people|Missus Featherstone|the shopkeeper|two wise judges",
        "did": "bought|found|fixed|forgot|wanted|brought back|threw away|painted|remembered|wrote about|pushed over|ate|built|dreamed of|took home|watched|burned|gave away|asked for|cleaned up|loved|moved|chose|laughed about|worried about|showed me|kept|heard|opened",
        "did2": "bought|found|fixed|chose|wrote|painted|saw|heard|built|wanted",
        "do": "buy|find|fix|forget|bring|throw away|paint|remember|write about|push|eat|build|take|watch|wash|give up|ask for|clean|move|choose|laugh about|share|show me|keep|hear|open|move|bake",
        "thing": "a loaf of warm bread|the broken window|both umbrellas|my father's watch|a bottle of apple juice|the whole pizza|five purple balloons|an orange boat|the last chapter|his toothbrush|every photograph|a better map|their wooden furniture|the yellow bicycle|a cup of coffee|the garage door|that awful noise|the birthday cake|a few fresh vegetables|the piano|her thick woolen sweater|some paper and a brush|a huge wheel of cheese|the other half|three thousand dollars|the moon|a good book|the old church bell|this strange machine|your measure of rice",
        "when": "this morning|on Wednesday evening|before breakfast|a week ago|in the middle of the night|after the show|right now|last February|during the storm|at half past four|for the first time|when the rain stopped|again and again|over the weekend|every other month|as usual|yesterday|on the way home|since the summer|within an hour|once in a while",
        "where": "at the airport|behind the house|under the bridge|in the kitchen|on top of the mountain|near the harbour|by the river|in the south of France|at my office|down the road|in the back of the car|across the street|at the beach|between the two towers|out in the woods|around the corner|on the train to Philadelphia|beneath the floor",
        "think": "think|believe|guess|am sure|heard|hope|suppose|wonder why|remember how|don't think|can't believe",
        "think2": "I think|you know|of course|more or less|if you ask me|wasn't it|as far as I remember|to be fair",
        "well": "Well|Oh|Look|By the way|You see|Honestly|Hmm|Of course|Actually|In fact|Above all|Anyway|Yes|Wow|Maybe|Alright|Unfortunately",
        "clause": "it was raining all day|the children were asleep|nobody came|we had no money left|the bus was late again|I could hear the wind|they all laughed|everything is possible|the soup is still too hot|you were right about it|there's no rush|my phone doesn't work|the view is beautiful|she never told us|he smiled at me|it's going to be fine|the power went out|we should leave soon|the dog wouldn't stop barking|that was the best part|both doors were open|I've got enough time|it smells like fresh paint|our plane leaves at noon|who could have known|prices keep going up|the whole thing fell apart|I would rather walk",
        "went": "walked|drove|ran|moved|flew|went|rushed|stayed|waited|met",
        "good": "beautiful|wonderful|terrible|boring|perfect|rough|huge|weird|simple|marvelous|poor|quiet|awful|smart|warm|curious|long|powerful|fair|rather expensive",
        "noun": "morning|movie|journey|picture|summer|question|song|village|voyage|house|problem|window|story|garden|concert|bird|job|fight|measure|map|movement|choice|river|machine|hour|tooth|kitchen|view|party|chair",
        "number": "two|three|five|seven|nine|eleven|twelve|fourteen|forty five|a hundred|one thousand|about thirty|ninety nine|over two million|zero|sixty six",
        "plural": "apples|old boats|buildings|people|yellow flowers|leaves|mushrooms|big ideas|purple shoes|feathers|horses|wolves|brothers|oranges|chairs|memories|beaches|towers|books|fish|thieves|bottles|toys|computers|earrings|jewels|bears|potatoes",
        "should": "should|could|would|might|will|must|can",
        "name": "Bob|Amy|Philip|Joyce|Mabel|George|Sophie|Howard|Yvonne|Peter|Mary|Oliver|Ruth|Hugh|Emma|William|Faith|Zoe|Thomas|Barbara",
        "love": "love|like|hate|collect|sell|draw|adore",
    },
    "de": {
        "who": "meine Mutter|der alte Kapitän|unser Nachbar|die junge Ärztin|das ganze Dorf|mein Bruder|der Bäcker|eine Freundin aus Hamburg|niemand|Onkel Joachim|der Lehrer|die Königin|ein fremder Mann|Frau Weber|der Förster|die Köchin",
        "done": "gekauft|gefunden|vergessen|gebaut|gemalt|gesucht|mitgebracht|gesehen|gehört|verkauft|geöffnet|bewundert|aufgehoben|verloren|gewaschen|beschrieben|probiert",
        "thing": "das warme Brot|den blauen Mantel|die schöne Vase|fünf Äpfel|ein altes Buch|den Schlüssel|die Zeitung von gestern|einen Topf Suppe|das neue Fahrrad|die große Pfanne|den Brief|ein paar Blumen|die Fotos vom Urlaub|das Klavier|den Regenschirm|eine Tüte Mehl|die Geschichte|das Bier",
        "when": "heute Morgen|am Mittwoch|vor dem Frühstück|in der Nacht|nach der Arbeit|im Februar|um halb vier|zum ersten Mal|am Wochenende|wie immer|gestern Abend|vor einer Woche|während des Gewitters",
        "where": "am Bahnhof|hinter dem Haus|unter der Brücke|in der Küche|auf dem Berg|am Hafen|bei uns|im Süden|im Büro|am Fluss|im Wald|über der Stadt|vor der Tür",
        "well": "Also|Ach|Na ja|Ja|Übrigens|Ehrlich gesagt|Hm|Natürlich|Vielleicht|Schau mal|Leider|Außerdem",
        "clause": "es regnet schon den ganzen Tag|die Kinder schlafen|der Bus kommt zu spät|wir haben kein Geld mehr|das Wetter ist wunderbar|ich höre den Wind|alle lachen|die Suppe ist noch zu heiß|mein Telefon ist kaputt|das war der beste Teil|der Hund bellt|niemand weiß es|beide Türen sind offen|wir müssen bald gehen|es riecht nach frischer Farbe|das Bild gefällt mir|morgen fliegen wir nach Wien",
        "clause2": "dann fahren wir nach Hause|später kochen wir Fisch|am Ende bleibt nur Papier|trotzdem bin ich froh|danach ist alles gut|übermorgen kommt Besuch|jetzt wird es dunkel",
        "good": "schöne|gute|furchtbare|wunderbare|verrückte|böse|hübsche|kühle",
        "good2": "schön|gut|seltsam|wunderbar|gefährlich|lustig|komisch",
        "number": "zwei|drei|fünf|sieben|neun|elf|zwölf|vierzehn|fünfundvierzig|hundert|tausend|ungefähr dreißig",
        "plural": "Äpfel|Boote|Häuser|Leute|Blumen|Blätter|Pilze|Ideen|Schuhe|Vögel|Pferde|Brüder|Stühle|Bücher|Fische|Flaschen|Bäume|Kartoffeln|Pfannkuchen",
        "name": "Bernd|Anna|Philipp|Jürgen|Maria|Georg|Sophie|Uwe|Yvonne|Peter|Oliver|Ruth|Emma|Wilhelm|Thomas|Barbara|Björn",
    },
    "fr": {
        "who": "ma mère|le vieux capitaine|notre voisin|la jeune fille|tout le village|mon frère|le boulanger|une amie de Bordeaux|personne|oncle Joseph|le professeur|la reine|un inconnu|madame Dubois|le facteur|le chef",
        "done": "acheté|trouvé|oublié|construit|peint|cherché|apporté|vu|entendu|vendu|ouvert|admiré|perdu|lavé|choisi|bu|mangé|voulu",
        "thing": "le pain chaud|un manteau bleu|la belle armoire|cinq pommes|un vieux livre|la clé du jardin|le journal d'hier|une bouteille de vin|le nouveau vélo|la grande poêle|une lettre|des fleurs jaunes|les photos de vacances|le piano|mon parapluie|un peu de beurre|l'histoire de France|une bonne soupe",
        "when": "ce matin|mercredi soir|avant le petit déjeuner|pendant la nuit|après le travail|en février|à quatre heures et demie|pour la première fois|ce week-end|comme toujours|hier soir|il y a une semaine",
        "where": "à la gare|derrière la maison|sous le pont|dans la cuisine|sur la montagne|au port|chez nous|dans le sud|au bureau|au bord de la rivière|dans la forêt|devant la porte",
        "well": "Alors|Oh|Bon|Oui|Au fait|Franchement|Euh|Bien sûr|Peut-être|Regarde|Malheureusement|En plus",
        "clause": "il pleut depuis ce matin|les enfants dorment|le bus est en retard|nous n'avons plus d'argent|le temps est magnifique|j'entends le vent|tout le monde rit|la soupe est trop chaude|mon téléphone ne marche pas|c'était le meilleur moment|le chien aboie|personne ne le sait|les deux portes sont ouvertes|il faut partir bientôt|ça sent la peinture|le film me plaît beaucoup|demain on va au bord de la mer|je préfère marcher un peu",
        "good": "belle|bonne|mauvaise|étrange|jolie|curieuse|drôle d'",
        "number": "deux|trois|cinq|sept|neuf|onze|douze|quatorze|quarante-cinq|cent|mille|une trentaine de",
        "plural": "pommes|bateaux|maisons|fleurs|feuilles|champignons|idées|chaussures|oiseaux|chevaux|frères|chaises|livres|poissons|bouteilles|arbres|pommes de terre|crêpes|bijoux",
        "name": "Paul|Émilie|Philippe|Juliette|Marie|Georges|Sophie|Hugo|Yvonne|Pierre|Olivier|Aurélie|Emma|Guillaume|Thomas|Barbara|François",
    },
    "es": {
        "who": "mi madre|el viejo capitán|nuestro vecino|la joven doctora|todo el pueblo|mi hermano|el panadero|una amiga de Bilbao|nadie|el tío José|el profesor|la reina|un desconocido|la señora López|el cartero|el cocinero",
        "done": "comprado|encontrado|olvidado|construido|pintado|buscado|traído|visto|oído|vendido|abierto|admirado|perdido|lavado|elegido|bebido|probado|movido",
        "thing": "el pan caliente|un abrigo azul|la ventana rota|cinco manzanas|un libro viejo|la llave del jardín|el periódico de ayer|una botella de vino|la bicicleta nueva|la sartén grande|una carta|unas flores amarillas|las fotos del verano|el piano|mi paraguas|un poco de mantequilla|la historia de España|una buena sopa",
        "when": "esta mañana|el miércoles por la tarde|antes del desayuno|por la noche|después del trabajo|en febrero|a las cuatro y media|por primera vez|el fin de semana|como siempre|ayer|hace una semana",
        "where": "en la estación|detrás de la casa|debajo del puente|en la cocina|en la montaña|en el puerto|en el sur|en la oficina|junto al río|en el bosque|delante de la puerta|por aquí",
        "well": "Bueno|Oh|Mira|Sí|Por cierto|Sinceramente|Pues|Claro|Quizás|Vaya|Por desgracia|Además",
        "clause": "llueve desde esta mañana|los niños duermen|el autobús llega tarde|no tenemos más dinero|hace un tiempo maravilloso|oigo el viento|todos se ríen|la sopa está muy caliente|mi teléfono no funciona|fue la mejor parte|el perro ladra mucho|nadie lo sabe|las dos puertas están abiertas|hay que salir pronto|huele a pintura fresca|la película me gusta mucho|mañana vamos a la playa|prefiero caminar un poco",
        "good": "bonita|buena|mala|extraña|curiosa|hermosa|fabulosa",
        "number": "dos|tres|cinco|siete|nueve|once|doce|catorce|cuarenta y cinco|cien|mil|unos treinta",
        "plural": "manzanas|barcas|casas|flores|hojas|setas|ideas|botas|aves|yeguas|hermanas|sillas|novelas|botellas|palmeras|patatas|joyas|películas",
        "name": "Pablo|Amelia|Felipe|Julia|María|Jorge|Sofía|Hugo|Yolanda|Pedro|Olivia|Emma|Guillermo|Tomás|Bárbara|Javier|Beatriz",
    },
    "it": {
        "who": "mia madre|il vecchio capitano|il nostro vicino|la giovane dottoressa|tutto il paese|mio fratello|il fornaio|un'amica di Bologna|nessuno|lo zio Giuseppe|il professore|la regina|uno sconosciuto|il cuoco",
        "done": "comprato|trovato|dimenticato|costruito|cercato|portato|visto|sentito|venduto|aperto|perso|lavato|scelto|bevuto|provato|mosso",
        "thing": "il pane caldo|un cappotto blu|la finestra rotta|cinque mele|un vecchio libro|la chiave del giardino|il giornale di ieri|una bottiglia di vino|la bicicletta nuova|una lettera|dei fiori gialli|il pianoforte|un po' di burro|una buona zuppa",
        "when": "stamattina|mercoledì sera|prima di colazione|di notte|dopo il lavoro|a febbraio|alle quattro e mezza|per la prima volta|come sempre|ieri|una settimana fa",
        "where": "alla stazione|dietro la casa|sotto il ponte|in cucina|in montagna|al porto|nel sud|in ufficio|vicino al fiume|nel bosco|davanti alla porta",
        "well": "Allora|Oh|Guarda|Sì|A proposito|Sinceramente|Beh|Certo|Forse|Purtroppo|Inoltre",
        "clause": "piove da stamattina|i bambini dormono|l'autobus è in ritardo|non abbiamo più soldi|il tempo è meraviglioso|sento il vento|tutti ridono|la zuppa è troppo calda|il mio telefono non funziona|il cane abbaia|nessuno lo sa|bisogna partire presto|domani andiamo al mare|preferisco camminare un po'",
        "good": "bella|buona|brutta|strana|curiosa|favolosa",
        "number": "due|tre|cinque|sette|nove|undici|dodici|quattordici|quarantacinque|cento|mille",
        "plural": "mele|barche|case|foglie|idee|scarpe|sorelle|sedie|bottiglie|palme|patate|gioie",
        "name": "Paolo|Amelia|Filippo|Giulia|Maria|Giorgio|Sofia|Ugo|Pietro|Olivia|Emma|Guglielmo|Tommaso|Barbara|Beatrice",
    },
}  # fmt: skip
_SAME_WORDS = {"en-gb-x-rp": "en-us"}
LANGUAGES = (*_TEMPLATES, *_SAME_WORDS)


def make_sentence(language: str, rng: np.random.Generator) -> str:
    """A random sentence in one of LANGUAGES, which is grammatical as a rule, though seldom sensible."""
    key = _SAME_WORDS.get(language, language)
    template = str(rng.choice(_TEMPLATES[key].split("|")))
    words = _WORDS[key]
    sentence = re.sub(r"{(\w+)}", lambda slot: str(rng.choice(words[slot[1]].split("|"))), template)
    first = next(i for i, character in enumerate(sentence) if character.isalpha())
    return sentence[:first] + sentence[first].upper() + sentence[first + 1 :]
