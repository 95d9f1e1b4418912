"""The vocabulary of the generated worlds, and the free text that every family shares.

Evidence about which model answered grows with the entropy of the answer, so most tasks ask for a
short remark beside the part that is graded. A remark holds no digit, no address, no backtick and
no storage place: it can never change a grade.
"""

from subnet.core.benchmark.draws import Draws


def _split(text: str) -> tuple[str, ...]:
    return tuple(text.split())


NAMES = _split(
    "Mara Olin Tessa Bram Ines Joel Nadia Piet Rosa Sven Talia Umar Vera Wim Yara Zeno Anouk"
    " Boris Clara Dario Elsa Felix Greta Hugo Iris Jonas Karin Lars Mina Nils"
)
SURNAMES = _split(
    "Voss Reed Kline Moss Hale Brandt Stone Lind Park Weber Costa Duval Frost Grant Holm Irwin"
    " Jansen Kemp Lowe Marsh"
)
CITIES = _split(
    "Arden Belmora Corvin Dunmere Eastwick Fallow Glenrock Harrow Istria Juniper Kestrel Lorne"
    " Marwick Norden Ostend Pelham Quarry Ravenna Selby Torvale"
)
JOBS = _split(
    "baker carpenter farmer gardener miller painter pilot potter sailor tailor teacher weaver"
    " clerk cook driver nurse"
)
THINGS = _split(
    "apple pear plum fig coin stone shell ribbon bead card pencil button candle feather nut spoon"
)
PLACES = _split(
    "barn attic cellar drawer kitchen garage shed tower chapel stable library workshop pantry"
    " cupboard hallway basement"
)
KEPT = _split(
    "key rope map lamp drum flute compass ladder saddle mirror kettle basket hammer needle"
    " blanket trumpet"
)

ADJECTIVES = _split(
    "quiet small old bright slow gentle red grey young warm cold long deep soft wide golden"
    " pale brave clever dusty early empty faint fresh green happy heavy hidden honest hungry"
    " idle kind late light lonely lost lucky narrow new noisy patient plain proud quick rare"
    " restless round rusty sharp shy silent silver simple sleepy steady still strange strong"
    " sudden sweet tall tame thin tired tiny vast wild wise wooden yellow blue broken calm"
    " careful curious distant eager famous fierce foggy frozen humble jolly misty modest muddy"
    " mild polite ragged salty shallow shiny sour spare stern tender uneven velvet weary windy"
)
NOUNS = _split(
    "river garden bridge lantern harbour forest window orchard valley market winter morning"
    " clock letter sparrow fox horse ship road hill meadow cloud storm mountain village door"
    " fire stream teacher sailor baker child grandmother stranger traveller farmer painter wolf"
    " owl crow rabbit cat dog swan bee moth spider salmon whale turtle island ocean shore tide"
    " lake pond well mill gate wall roof chimney candlelight shadow silence song story secret"
    " promise dream memory question answer journey season harvest autumn summer spring snow"
    " rain wind frost fog sun moon star sky field furrow seed root leaf branch oak pine willow"
    " ivy moss fern rose thistle clover acorn berry honey bread butter salt pepper soup tea cup"
    " plate table chair bench carpet curtain book page pen ink paper coat scarf glove boot hat"
    " thread wheel cart wagon engine train station signal bell violin fiddle piano choir dance"
    " parade circus puppet kite balloon marble puzzle riddle"
)
VERBS = _split(
    "found followed watched remembered carried painted crossed heard forgot touched kept lost"
    " loved opened closed counted noticed greeted mended passed reached visited welcomed"
    " circled warmed startled covered drew guarded helped hid imagined left lifted met missed"
    " moved named needed owned praised pulled pushed raised repaired saved searched shook"
    " sketched sold stole surprised taught thanked trusted warned washed wrapped admired"
    " borrowed chased feared"
)
ADVERBS = _split(
    "slowly quietly again today gently always twice softly early together alone once often"
    " gladly rarely suddenly kindly soon carefully calmly barely proudly patiently happily"
    " bravely eagerly swiftly lately finally"
)
WEATHERS = _split(
    "rain snow wind frost fog sunshine thunder mist hail drizzle moonlight starlight heat dusk dawn"
)
MOODS = _split(
    "glad sad calm proud tired curious afraid hopeful angry lonely surprised grateful restless"
    " cheerful puzzled sleepy hungry brave"
)
OPENERS = _split(
    "Perhaps Today Yesterday Meanwhile Often Later Somewhere Sometimes Tonight Outside Once"
    " Still Nearby Afterwards Usually Indoors"
)
REQUESTS = (
    "Add a short remark.",
    "Close with a remark.",
    "End with a short thought.",
    "Add a thought of your own.",
)


def person(draws: Draws) -> str:
    """A full name."""
    return f"{draws.choice(NAMES)} {draws.choice(SURNAMES)}"


def phrase(draws: Draws) -> str:
    """A noun with its article and, mostly, an adjective: `the quiet river`."""
    noun = draws.favoured(NOUNS)
    if draws.chance(1, 4):
        return f"the {noun}"
    return f"the {draws.favoured(ADJECTIVES)} {noun}"


def clause(draws: Draws) -> str:
    """A free clause without a capital or a full stop."""
    shape = draws.below(6)
    if shape == 0:
        return f"{phrase(draws)} {draws.favoured(VERBS)} {phrase(draws)}"
    if shape == 1:
        return f"{phrase(draws)} {draws.favoured(ADVERBS)} {draws.favoured(VERBS)} {phrase(draws)}"
    if shape == 2:
        return f"{phrase(draws)} was {draws.favoured(MOODS)} in the {draws.favoured(WEATHERS)}"
    if shape == 3:
        return f"{phrase(draws)} looked {draws.favoured(ADJECTIVES)} beside {phrase(draws)}"
    if shape == 4:
        return f"nobody {draws.favoured(VERBS)} {phrase(draws)} {draws.favoured(ADVERBS)}"
    return f"{phrase(draws)} and {phrase(draws)} {draws.favoured(VERBS)} {phrase(draws)}"


def sentence(draws: Draws) -> str:
    """A free sentence."""
    text = clause(draws)
    if draws.chance(1, 3):
        return f"{draws.favoured(OPENERS)}, {text}."
    return f"{text[0].upper()}{text[1:]}."


def remark(draws: Draws) -> str:
    """The free text that accompanies a graded answer."""
    return sentence(draws)
