"""The headings of the causal analyses, and what their figures show: the same words in reports and on cards."""

from __future__ import annotations

CAPTIONS = {
    "alignment": (
        "Does it hold shape and color apart?",
        "For each property and layer, a subspace of the object's tokens was learned whose swap from another picture "
        "should change that property alone (distributed alignment search). Blue: how often the model then gives the "
        "answer that the changed object calls for. Orange: the same with the wrong object of the other picture, which "
        "should fail. Green: how often the answer stays where the other property was changed in the source instead. "
        "Pink: the same search in this network with random weights, which gives one answer to all pictures, so read "
        "it against its own dots. Gray and black dots: doing nothing, judged by the picture's own answer and by the "
        "new one.",
    ),
    "novel": (
        "Is the comparison abstract?",
        "Both objects of a pair get a value of the property that no object has, in the learned subspace: two values "
        "added or averaged, a sampled or a random vector. The answer should change as it would with real objects. "
        "Second row: the whole state of the tokens is replaced; third row: the objects were erased from the picture "
        "first. Gray and dotted: no edit.",
    ),
    "probes": (
        "What can be read, and where?",
        "A probe is fitted to the object tokens of each layer: to tell whether a pair is the same, which shape, color "
        "or object a token belongs to, whether two tokens are of one object. Orange: probes fitted to shuffled "
        "labels; dotted: always naming the commonest. What can be read need not be used: see the next figure.",
    ),
    "steering": (
        "Is what can be read also used?",
        "The tokens of a pair are pushed along the probe's direction for the other relation, α times its length; the "
        "titles say how long that is beside the tokens. Blue: how often the answer flips. Orange: pushed to "
        "the relation that the pair has. Green: pushed as far along a shuffled probe. Gray and dotted: no push.",
    ),
}
"""Analysis -> its heading and the caption of its figure."""
