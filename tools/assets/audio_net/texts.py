"""Language → random text to synthesise: our own sentences, and made-up words in the spelling of many languages.

Made-up words cover the speech sounds of a language without its vocabulary: the net has to learn speech sounds, not words.
"""
# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Spelling:
    """How a language's syllables are written: onset + nucleus + coda, "_" for none."""

    onsets: tuple[str, ...]
    nuclei: tuple[str, ...]
    codas: tuple[str, ...]
    max_syllables: int = 3


def _spelling(onsets: str, nuclei: str, codas: str = "_", max_syllables: int = 3) -> Spelling:
    parts = [tuple("" if s == "_" else s for s in part.split()) for part in (onsets, nuclei, codas)]
    return Spelling(parts[0], parts[1], parts[2], max_syllables)


_KOREAN = (
    "가 나 다 라 마 바 사 아 자 차 카 타 파 하 거 너 더 머 버 서 고 노 도 모 보 소 포 구 누 무 부 수 푸 기 니 디 미 비 시 피 개 네 매 배 "
    "감 난 담 람 맘 밤 삼 암 범 점 밥 집 법 곰 봄 놈 뭄 품 음 임 핌 왕 원 월 관 과 와 위 외 얼 울 올 길 날 달 말 발 살"
)
_JAPANESE = (
    "あ い う え お か き く け こ さ し す せ そ た ち つ て と な に ぬ ね の は ひ ふ へ ほ ま み む め も や ゆ よ ら り る れ ろ わ "
    "が ぎ ぐ げ ご ざ じ ず だ で ど ば び ぶ べ ぼ ぱ ぴ ぷ ぺ ぽ きゃ しゅ ちょ みょ ぴゃ びゅ"
)

SPELLINGS: dict[str, Spelling] = {
    "en-us": _spelling(
        "p b m f v w t d n l r s sh ch j k g h th y st br pl gr sp fr bl pr sm wh _ p b m f v",
        "a e i o u ee oo ou ai ow aw ar er or ea oa ay iy oi igh",
        "_ _ _ n m t k s l p b st nd ng mp ff d sh x",
    ),
    "en-gb-x-rp": _spelling(
        "p b m f v w t d n l r s sh ch j k g h th y st br pl gr sp fr bl pr _ p b m",
        "a e i o u ee oo ou ai ow aw ar er or ea oa oi igh", "_ _ _ n m t k s l p b st nd ng mp ff d sh"
    ),
    "de": _spelling(
        "p b m f w t d n l r s sch z k g h st br pl gr sp fr pf j _ b m p",
        "a e i o u ä ö ü au ei eu ie aa eh oh", "_ _ n m t k s l p ch ng mpf ft rt bs nd en er el"
    ),
    "fr": _spelling(
        "p b m f v t d n l r s ch j c g br pl gr tr fr qu _ p b m",
        "a e i o u é è ou eu oi ai an on in un au eau", "_ _ _ _ re le te ve me ne che pe be sse"
    ),
    "es": _spelling("p b m f v t d n l r s ch j c g br pl gr tr fr qu ll ñ h _ p b m", "a e i o u ia ue ie ua ei", "_ _ _ n s l r"),
    "pt": _spelling("p b m f v t d n l r s ch j c g br pl gr tr lh nh _ p b m", "a e i o u ão ei ou ã õe ia", "_ _ _ m s l r"),
    "nl": _spelling("p b m f v w t d n l r s sch z k g h st br pl kr _ p b m", "a e i o u aa ee oo uu oe ui ij ou eu", "_ n m t k s l p cht ng mp f"),
    "pl": _spelling("p b m f w t d n l r s sz cz ż z k g h st br pl gr prz _ p b m", "a e i o u ó ą ę y ia ie", "_ _ n m t k sz l ł ść"),
    "cs": _spelling("p b m f v t d n l r s š č ž z k h ř st br pl pr _ p b m", "a e i o u á é í ů ou", "_ _ n m t k š l p"),
    "fi": _spelling("p m v t n l r s k h j _ p m", "a e i o u ä ö y aa ee uu ai äi uo yö ie", "_ _ n s l t", 4),
    "tr": _spelling("p b m f v t d n l r s ş ç c z k g h y _ p b m", "a e ı i o ö u ü", "_ _ n m t k ş l p r"),
    "hu": _spelling("p b m f v t d n l r s sz cs zs z k g h gy ny _ p b m", "a á e é i o ö ő u ü ű", "_ _ n m t k s l p"),
    "ro": _spelling("p b m f v t d n l r s ș ț j c g h br pl pr _ p b m", "a e i o u ă â ea oa ie", "_ _ n m t c s l p r"),
    "id": _spelling("p b m f w t d n l r s c j k g h ny ng y _ p b m", "a e i o u ai au", "_ _ n m t k s l p ng h"),
    "sw": _spelling("p b m f v w t d n l r s sh ch j k g h ny mb nd mw bw _ p b m", "a e i o u", "_", 4),
    "vi": _spelling("ph b m v t đ n l r s ch kh g h th nh p b m", "a ê i ô u ư ơ á à ả ố ì ương iê ưa", "_ n m t c p ng", 1),
    "da": _spelling("p b m f v t d n l r s sk k g h st br pl _ p b m", "a e i o u æ ø å y ej øj", "_ n m t k s l p nd"),
    "ru": _spelling("п б м ф в т д н л р с ш ч ж з к г х ст бр пл пр п б м _", "а е и о у я ё ю ы э", "_ _ н м т к с л п й"),
    "uk": _spelling("п б м ф в т д н л р с ш ч ж з к г х ст бр пл п б м _", "а е и о у я є ю і ї", "_ _ н м т к с л п й"),
    "bg": _spelling("п б м ф в т д н л р с ш ч ж з к г х ст бр пл п б м _", "а е и о у я ю ъ", "_ _ н м т к с л п"),
    "ka": _spelling("პ ბ მ ფ ვ თ დ ნ ლ რ ს შ ჩ ჯ კ გ ხ ჰ ზ პ ბ მ", "ა ე ი ო უ", "_ _ ნ მ თ კ ს ლ"),
    "ko": _spelling(_KOREAN, "_"),
    "ja": _spelling(_JAPANESE, "_", "_ _ _ ん", 4),
    "cmn-latn-pinyin": _spelling("p b m f t d n l s sh zh ch x q j k g h w y p b m", "a1 a4 e2 i3 o1 u4 ai4 ei2 ao3 ou1 an1 en2 ang4 ong1 ia3 ian4 ing1", "_", 2),
    "it": _spelling("p b m f v t d n l r s c g sc gn gl br pr tr qu z _ p b m", "a e i o u ia io uo ie", "_ _ _ n l r s"),
    "sv": _spelling("p b m f v t d n l r s sk k g h st br pl sj tj j _ p b m", "a e i o u å ä ö y", "_ n m t k s l p ng rd"),
    "hi": _spelling("प ब म फ भ व त द न ल र स श च ज क ग ह य थ ध ख प ब म", "ा े ि ो ु ी ू ै ौ _", "_ _ _ न म त क स ल"),
    "el": _spelling("π μπ μ φ β τ ντ ν λ ρ σ κ γκ γ χ θ δ ζ τσ π μπ μ", "α ε ι ο ου ει αι η", "_ _ _ ν ς", 3),
}  # fmt: skip
HELD_OUT_LANGUAGES = ("it", "sv", "hi", "el")
TRAINING_LANGUAGES = tuple(language for language in SPELLINGS if language not in HELD_OUT_LANGUAGES)

_SUBJECTS = (
    "my brother|a famous painter|the old fisherman|our neighbour|the pilot|a young woman|every member of the family|the baker"
    "|somebody from the village|the blue bird|this machine|nobody|your best friend|the weather|a small boat|the music"
    "|the people over there|my favourite book|the number five|a warm winter coat|the professor|both of them|the first bus"
)
_VERBS = (
    "wants to buy|never forgot|will probably move|is talking about|brings back|has been waiting for|could have opened|likes"
    "|described|moves past|jumps over|remembers|keeps|may be looking for|has just found|used to paint|loves|won't give up"
    "|pushed aside|asked for|shows|heard"
)
_OBJECTS = (
    "a pot of apple jam|the empty room|five yellow flowers|the map of the harbour|a much better plan|the sound of rain|his piano"
    "|every single photograph|the wide river|bread and butter|a bowl of hot soup|the top of the mountain|her new job|the window"
    "|an open question|the beautiful garden|two or three problems|a piece of cake|the long way home|some fresh coffee"
)
_ENDINGS = (
    "before the end of the month|on Monday morning|without saying a word|because it is raining|in the middle of the night"
    "|as far as I know|when summer comes|for the very first time|down by the beach|together with Bob and Amy|again and again"
    "|if you don't mind|more than anything|with both hands|at about half past five|whatever happens|most of the time"
)
_OWN: dict[str, str] = {
    "de": "Am Abend backen wir Brot mit Butter und Pflaumen.|Warum fährt der Bus heute so früh ab?|Mein Onkel malt am liebsten "
    "Bäume und Boote.|Bitte öffne das Fenster, es ist viel zu warm.|Fünf Vögel flogen über das weiße Haus.",
    "fr": "Mon ami veut acheter un petit bateau bleu.|Pourquoi la fenêtre est-elle ouverte ce matin ?|Nous avons bu beaucoup de "
    "café avant de partir.|Elle chante une belle chanson pour sa maman.|Il pleut, mais la ville reste belle.",
    "es": "Mi vecino vende pan, miel y mantequilla.|¿Por qué no abrimos la ventana un momento?|Mañana vamos al pueblo en el "
    "primer autobús.|La profesora habla muy bien de su familia.|Un barco pequeño pasa por debajo del puente.",
    "pt": "A minha mãe faz um bolo muito bom.|Por favor, abre a porta devagar.|O barco azul passou perto da praia ontem.",
    "nl": "Mijn broer koopt morgen vijf blauwe bloemen.|Waarom is het raam open als het regent?|Wij praten vaak over muziek.",
    "pl": "Moja babcia piecze bardzo dobry chleb.|Proszę powoli otworzyć małe okno.|Wczoraj padał deszcz przez cały wieczór.",
    "ru": "Мой брат покупает белый хлеб и молоко.|Почему окно опять открыто?|Мама любит петь по вечерам.|Пять птиц летят на юг.",
    "tr": "Babam pazardan ekmek ve peynir aldı.|Pencereyi neden bu kadar geniş açtın?|Yarın hep birlikte vapura bineceğiz.",
    "it": "Mio fratello compra sempre pane e formaggio.|Perché la finestra è aperta se piove?|Domani prendiamo la prima barca.",
    "sv": "Min bror vill köpa fem blå blommor.|Varför är fönstret öppet när det regnar?|Vi pratar ofta om musik och mat.",
    "hi": "मेरा भाई बाज़ार से फल और सब्ज़ी लाता है।|माँ बहुत अच्छा खाना बनाती हैं।|बारिश में खिड़की बंद करो।",
    "el": "Ο αδερφός μου αγοράζει ψωμί και μέλι.|Γιατί είναι ανοιχτό το παράθυρο;|Μπορούμε να πάμε μαζί αύριο το πρωί.",
}


def make_text(language: str, rng: np.random.Generator) -> str:
    """One or two phrases in ``language``: our own sentences for some languages, made-up words for all."""
    if language.startswith("en") and rng.random() < 0.65:
        return " ".join(_english_sentence(rng) for _ in range(int(rng.integers(1, 3))))
    own = _OWN.get(language)
    if own and rng.random() < 0.25:
        return str(rng.choice(own.split("|")))
    return _made_up_phrase(SPELLINGS[language], rng)


def _english_sentence(rng: np.random.Generator) -> str:
    subject, verb, thing, ending = (
        str(rng.choice(part.split("|"))) for part in (_SUBJECTS, _VERBS, _OBJECTS, _ENDINGS)
    )
    forms = (f"{subject} {verb} {thing} {ending}", f"{ending}, {subject} {verb} {thing}", f"{subject} {verb} {thing}")
    sentence = str(rng.choice(forms))
    return sentence[0].upper() + sentence[1:] + str(rng.choice((".", ".", "!", "?")))


def _made_up_phrase(spelling: Spelling, rng: np.random.Generator) -> str:
    words = []
    for _ in range(int(rng.integers(5, 13))):
        num_syllables = int(rng.integers(1, spelling.max_syllables + 1))
        words.append(
            "".join(
                str(rng.choice(spelling.onsets)) + str(rng.choice(spelling.nuclei)) + str(rng.choice(spelling.codas))
                for _ in range(num_syllables)
            )
            + ("," if rng.random() < 0.12 else "")
        )
    return " ".join(words).rstrip(",") + "."
