"""Styles of the rule-based composer: what an ensemble is made of, which patterns it plays at which energy, what it is called.

Programs are General MIDI numbers; a pattern list has one entry for each of four energy tiers (calm .. driving).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Style:
    name: str
    words: tuple[str, ...]  # ways a person would ask for it
    lead: tuple[int, ...]
    second: tuple[int, ...]
    bass: tuple[int, ...]
    comp: tuple[int, ...]
    pad: tuple[int, ...]
    kit: int  # General MIDI drum kit; -1: none
    comp_patterns: tuple[tuple[str, ...], ...]  # by tier: alternatives, of which a piece keeps one
    bass_patterns: tuple[tuple[str, ...], ...]
    drums: str  # groove family, see patterns.py
    layers: tuple[str, ...]  # roles by tier, as letters of l s b c p k
    metres: tuple[str, ...] = ("4/4",)
    swing: bool = False
    sevenths: float = 0.1  # share of chords coloured with a seventh
    tempo_centre_bpm: float = 96.0
    lead_centre: int = 74  # MIDI pitch about which the lead moves
    pedal: bool = False  # a sustain pedal is part of the sound
    dark: tuple[int, ...] = ()  # who have lead, second, comp and pad where it is dark, and where it is dark and tense; nobody: all stay
    tense: tuple[int, ...] = ()

    @property
    def programs(self) -> set[int]:
        """Of everyone who may play in it, drums aside."""
        return {*self.lead, *self.second, *self.bass, *self.comp, *self.pad, *self.dark, *self.tense}


LOWEST = {21: 50, 40: 55, 41: 48, 52: 46, 53: 48, 56: 54, 66: 46, 68: 58, 71: 50, 72: 62, 73: 60, 110: 55}  # MIDI pitch that a melody instrument reaches
DARK_STRINGS, TREMOLO = (42, 41, 48, 49), (48, 48, 44, 44)  # who have lead, second, comp and pad where it is dark, and where it is tense too
CALM_KEYS = (("sparse", "block"), ("arp8", "alberti"), ("arp8", "pulse"), ("arp8", "ostinato", "arp16"))
JAZZ_PATTERNS = ((("block",), ("charleston", "halves"), ("charleston",), ("charleston", "offbeat")), (("whole", "half"), ("half",), ("walking",), ("walking",)))

STYLES = (
    Style("solo piano", ("solo piano", "piano piece", "lonely piano", "grand piano", "piano ballad", "pianist alone in a hall"),
          (0,), (0,), (0,), (0,), (0,), -1, CALM_KEYS, (("whole",), ("whole", "half"), ("half", "octave"), ("octave", "pulse8")),
          "none", ("lc", "lcb", "lcb", "lcbs"), ("4/4", "4/4", "3/4", "6/8"), pedal=True),
    Style("strings", ("string quartet", "string ensemble", "chamber strings", "violin and cello", "strings", "cello and violas"),
          (40, 40, 42), (41, 40), (42, 43), (48, 45, 41), (48, 49), -1,
          (("block",), ("halves", "sparse"), ("pulse", "arp8"), ("ostinato", "tremolo")), (("whole",), ("whole", "half"), ("half",), ("pulse8",)),
          "none", ("lp", "lpb", "lpbs", "lpbsc"), ("4/4", "4/4", "3/4"), dark=DARK_STRINGS, tense=TREMOLO),
    Style("orchestra", ("orchestra", "cinematic orchestra", "film score", "symphonic music", "epic orchestra with percussion", "trailer music"),
          (40, 68, 60, 73, 56), (60, 71, 41), (43, 42), (48, 45, 46, 61), (48, 49, 61), 48,
          (("block", "sparse"), ("arp8", "halves"), ("pulse", "arp8"), ("ostinato", "tremolo")), (("whole", "pedal"), ("whole",), ("half",), ("pulse8",)),
          "orchestral", ("lp", "lpb", "lpbsc", "lpbsck"), ("4/4", "4/4", "3/4", "6/8"), dark=DARK_STRINGS, tense=TREMOLO),
    Style("ambient", ("ambient", "ambient pads", "drone and texture", "atmospheric synth", "space ambient", "dreamy soundscape"),
          (88, 98, 11, 4), (91, 94), (38, 39, 89), (88, 99, 4), (89, 91, 95), -1,
          (("sparse",), ("sparse", "arp8"), ("arp8",), ("arp16",)), (("pedal", "whole"), ("whole",), ("whole",), ("half",)),
          "soft", ("p", "lp", "lpbc", "lpbck"), tempo_centre_bpm=84, sevenths=0.5),
    Style("acoustic guitar", ("acoustic guitar", "fingerpicked guitar", "nylon guitar", "classical guitar", "guitar by the fire"),
          (24, 25, 73), (24, 25), (32, 24), (24, 25), (48, 24), -1,
          (("sparse", "arp8"), ("arp8", "alberti"), ("strum", "arp8"), ("strum", "arp16")), (("whole",), ("whole", "half"), ("half",), ("half", "synco")),
          "folk", ("lc", "lcb", "lcbs", "lcbsk"), ("4/4", "4/4", "3/4"), lead_centre=70),
    Style("music box", ("music box", "toy box lullaby", "celesta and glockenspiel", "tiny bells", "child's toy piano"),
          (10, 8, 9), (10, 9), (46, 8), (10, 8, 46), (52, 48), -1,
          (("sparse",), ("arp8",), ("arp8", "alberti"), ("arp16",)), (("whole",), ("whole",), ("half",), ("half",)),
          "none", ("l", "lc", "lcb", "lcbs"), ("4/4", "3/4"), lead_centre=82),
    Style("duo with piano", ("duo with piano", "chamber duo", "sonata for two", "romantic duo", "recital with piano", "piano and a soloist"),
          (42, 42, 40, 73, 71, 68), (0,), (0,), (0,), (0,), -1, CALM_KEYS, (("whole",), ("whole", "half"), ("half", "octave"), ("octave", "pulse8")),
          "none", ("lc", "lcb", "lcb", "lcbs"), ("4/4", "4/4", "3/4", "6/8"), lead_centre=66, pedal=True),
    Style("jazz trio", ("jazz trio", "jazz piano, bass and drums", "piano trio swing", "late night jazz piano", "cool jazz piano"),
          (0,), (0,), (32,), (0,), (4,), 40, *JAZZ_PATTERNS,
          "jazz", ("lcb", "lcbk", "lcbk", "lcbks"), swing=True, sevenths=0.9, tempo_centre_bpm=108),
    Style("jazz band", ("jazz band", "smoky jazz club", "swing jazz", "late night jazz", "saxophone jazz", "jazz quartet"),
          (66, 56, 26, 71), (26, 11, 0), (32,), (0, 0, 26), (4, 48), 40, *JAZZ_PATTERNS,
          "jazz", ("lcb", "lcbk", "lcbk", "lcbks"), swing=True, sevenths=0.9, tempo_centre_bpm=108),
    Style("bossa nova", ("bossa nova", "bossa nova guitar at the beach", "latin lounge", "samba jazz", "brazilian guitar"),
          (24, 73, 66, 11), (73, 24), (32,), (24, 0), (48, 4), 0,
          (("block", "arp8"), ("bossa",), ("bossa",), ("bossa", "strum")), (("half",), ("synco",), ("synco",), ("synco",)),
          "latin", ("lcb", "lcbk", "lcbk", "lcbkp"), sevenths=0.8, tempo_centre_bpm=104),
    Style("rock band", ("rock band", "electric guitar rock", "indie band", "power rock", "drums, bass and guitars", "metal riff"),
          (29, 27, 30, 80), (27, 29), (33, 34), (27, 29, 30), (18, 16), 16,
          (("block", "arp8"), ("arp8", "halves"), ("pulse", "strum"), ("power8",)), (("whole",), ("half", "pulse8"), ("pulse8",), ("pulse8",)),
          "rock", ("lc", "lcb", "lcbk", "lcbkp"), tempo_centre_bpm=104, lead_centre=69, dark=(27, 27, 27, 16), tense=(30, 30, 30, 18)),
    Style("electronic", ("electronic dance", "house beat", "techno", "synthwave", "EDM drop", "club music with synths"),
          (81, 80, 87, 62), (80, 90), (38, 39, 87), (81, 90, 62), (89, 90, 95), 25,
          (("block",), ("arp8", "offbeat"), ("offbeat", "arp16"), ("arp16", "offbeat")), (("whole",), ("half", "pulse8"), ("offbeat8", "pulse8"), ("offbeat8", "pulse8")),
          "electronic", ("lp", "lpc", "lpcbk", "lpcbks"), tempo_centre_bpm=106, dark=(87, 90, 90, 89), tense=(87, 90, 62, 90)),
    Style("chiptune", ("chiptune", "8-bit video game", "retro game music", "8-bit boss fight", "nintendo style", "arcade"),
          (80, 80, 81), (80, 81), (38, 80, 87), (80, 81), (80, 90), 24,
          (("sparse", "arp8"), ("arp8",), ("arp16",), ("arp16",)), (("whole",), ("half",), ("pulse8", "octave"), ("octave", "pulse8")),
          "electronic", ("lc", "lcb", "lcbk", "lcbks"), tempo_centre_bpm=110, lead_centre=76),
    Style("folk", ("folk tune", "celtic fiddle", "irish folk", "village dance", "accordion and fiddle", "tin whistle tune"),
          (40, 72, 21, 110), (21, 72), (32, 43), (25, 21, 15), (48, 21), 0,
          (("block", "sparse"), ("strum", "halves"), ("strum", "offbeat"), ("strum", "offbeat")), (("whole",), ("half",), ("half",), ("half", "pulse8")),
          "folk", ("lc", "lcb", "lcbs", "lcbsk"), ("4/4", "6/8", "3/4")),
    Style("waltz", ("waltz", "ballroom waltz", "viennese waltz", "parisian accordion waltz", "dance in three"),
          (40, 21, 0, 73), (41, 71), (43, 32), (48, 0, 45), (48, 49), -1,
          (("block", "waltz"), ("waltz",), ("waltz",), ("waltz",)), (("whole",), ("whole",), ("whole",), ("whole", "half")),
          "none", ("lc", "lcb", "lcbp", "lcbps"), ("3/4",), tempo_centre_bpm=120),
    Style("choir and organ", ("choir", "sacred choir", "church organ", "cathedral voices", "gregorian mood", "choir and organ"),
          (52, 53, 19), (52, 53), (19, 43), (19, 52), (52, 48), 48,
          (("block",), ("block", "halves"), ("pulse", "halves"), ("pulse", "ostinato")), (("pedal", "whole"), ("whole",), ("half",), ("half", "pulse8")),
          "orchestral", ("lp", "lpb", "lpbs", "lpbsck"), ("4/4", "3/4"), lead_centre=70),
)

INSTRUMENT_WORDS = {0: "piano", 4: "electric piano", 8: "celesta", 9: "glockenspiel", 10: "music box", 11: "vibraphone",
                    15: "dulcimer", 16: "organ", 18: "rock organ", 19: "church organ", 21: "accordion", 24: "nylon guitar", 25: "steel guitar", 26: "jazz guitar",
                    27: "electric guitar", 29: "overdriven guitar", 30: "distorted guitar", 32: "double bass", 33: "electric bass", 34: "picked bass",
                    38: "synth bass", 39: "synth bass", 40: "violin", 41: "viola", 42: "cello", 43: "contrabass", 44: "tremolo strings", 45: "pizzicato strings", 46: "harp",
                    48: "strings", 49: "slow strings", 52: "choir", 53: "voices", 56: "trumpet", 60: "french horn", 61: "brass", 62: "synth brass", 66: "tenor saxophone",
                    68: "oboe", 71: "clarinet", 72: "whistle", 73: "flute", 80: "square lead", 81: "saw lead", 87: "bass lead",
                    88: "warm pad", 89: "soft pad", 90: "synth pad", 91: "choir pad", 94: "halo pad", 95: "sweep pad", 98: "crystal synth", 99: "atmosphere", 110: "fiddle"}

# (words, valence, arousal): some captions name the mood as people do; it then agrees with the label
MOOD_WORDS = (
    (("happy", "cheerful", "joyful", "upbeat"), 0.7, 0.4), (("triumphant", "victorious", "exciting", "euphoric"), 0.7, 0.8),
    (("peaceful", "calm", "serene", "gentle"), 0.5, -0.7), (("tender", "warm", "hopeful", "romantic"), 0.5, -0.3),
    (("sad", "melancholic", "lonely", "mournful"), -0.6, -0.6), (("dark", "bleak", "gloomy", "desolate"), -0.7, -0.3),
    (("tense", "anxious", "suspenseful", "threatening"), -0.6, 0.4), (("angry", "furious", "aggressive", "terrifying"), -0.7, 0.85),
    (("neutral", "steady", "walking", "everyday"), 0.0, 0.0), (("energetic", "driving", "restless", "urgent"), 0.0, 0.8),
    (("sleepy", "quiet", "still", "slow"), 0.0, -0.8),
)
PLACES = ("in the rain", "at night", "by the sea", "for a film", "for a game", "at the beach", "in an old house", "over the mountains",
          "for a documentary", "in a small room", "under the stars", "for a boss fight", "for an end credit", "in the forest", "background music", "theme")
