"""What the demo's CLIP has words for: nouns, each with its colors, and the numbers of their regions."""

from .figures import CLOTH, COLORS, REGIONS

MORE_CLOTH = CLOTH | {"turquoise": (70, 200, 196)}
MORE_HAIR = COLORS["hair"] | {"gray": (150, 150, 158)}
NOUN_COLORS = {
    "background": COLORS["background"],
    "hair": MORE_HAIR,
    "skin": COLORS["skin"] | {"brown": (104, 66, 46)},
    "eyes": COLORS["eyes"],
    "shirt": MORE_CLOTH,
    "skirt": MORE_CLOTH,
    "trousers": MORE_CLOTH,
    "beard": MORE_HAIR,
    "hat": MORE_CLOTH,
    "glasses": MORE_CLOTH,
    "earrings": MORE_CLOTH,
    "lips": {"red": (204, 40, 50), "pink": (240, 130, 150), "brown": (140, 74, 60), "purple": (130, 60, 130)},
}  # fmt: skip

BOTTOM_NOUNS = ("skirt", "trousers")  # two words for one region
MORE_REGIONS = REGIONS | {"beard": 9, "hat": 10, "glasses": 11, "earrings": 12, "lips": 13}
UNNAMED = 15  # the region of a figure that no word is for
FIRST_OF_DRAWING = 16  # in drawings of things, regions are numbered from here on
REGION_OF_NOUN = {noun: "bottom" if noun in BOTTOM_NOUNS else noun for noun in NOUN_COLORS}
