"""What the Inspect tab says beside its pictures."""

from __future__ import annotations

METHODS = [
    ("Contrast", "contrast"),
    ("Rollout", "rollout"),
    ("Raw attention", "raw"),
    ("Gradient-weighted", "gradient"),
    ("Hidden states", "hidden"),
]
METHOD_HELP = {
    "contrast": "What this word looked at more than the answer's other words did, followed through all layers. A place "
    "that every word looks at (models park attention somewhere) falls away.",
    "rollout": "All that this word looked at, followed back through every layer of the perceiver to the "
    "pixels. nano's perceiver has one layer, so there it is the same as raw attention.",
    "raw": "The plain attention of the word on the pooled tokens, and of these on the pixels in their last layer only.",
    "gradient": "Attention counted only as far as it spoke for this word: one pass back through the model, so the first click "
    "on each word takes longer.",
    "hidden": "No attention at all: how alike what the model had in mind at this word is to what it has at each token.",
}
WORDS = (
    "Choose a word of the answer: the warm places on the page are where the model looked while it wrote that word. Choose a "
    "word of your question to see what it looked at while reading you.\n\n"
    "Green words became much likelier through the picture: they were read. Orange ones would have been as likely with a blank "
    "sheet: they come from the language model alone, however sure it sounds. Drag over the page to go the other way: words "
    "that came from that region light up.\n\n"
    "A map shows where a model looked, not why. Whether the place mattered is tested under “Believe it?”."
)
BELIEF = (
    "The hot fifth of what was fed is painted over with paper, and the same answer is asked for again. If the word's "
    "probability collapses, the model needed that place. The same is done with the coldest fifth, with three random fifths, "
    "with the middle and with everything.\n\n"
    "A map that costs the word no more than random places do tells nothing, however convincing it looks, and is labelled so."
)
FED = (
    "This is all the model got. A line of writing is cut out, turned upright, made grey and scaled to 48 pixels; blue lines "
    "part the frames that the vision tower sees one by one. Nothing outside this picture can be in the answer, except what "
    "the language model makes up.\n\n"
    "Below it: what Idefics2-8B would get of the same page. It sees squares of 14 pixels (the grid shows every fifth border) "
    "and pads every crop to the largest; grey stripes are padding that costs time and says nothing. Writing that is lower "
    "than one square there is hardly legible to it."
)
TOKENS = (
    "However long a line is, 64 pooled tokens are all that the language model is given. Each row of buttons is one crop: on "
    "every button stands what that token says. Choose one to see its pixels; drag over the picture to see which tokens keep "
    "those pixels.\n\n"
    "The atlas shows every token at once, bright where it looks. Dark red in the coverage picture is what no token keeps: "
    "the model cannot know it. The square compares every token with every other: bright blocks say the same thing twice."
)
NANO_SPELLS = "nano's tokens spell: each is a mix of letters in the language model's own alphabet. A dot is a token that says nothing."
NOT_ASKED = "Ask about a line first: then its tokens, words and maps can be looked at."
