"""Relational accuracy as an `evaluate` metric: a thin wrapper, the numbers are made in hf_relvit.training.metrics."""

# `evaluate` reads these lines by itself and understands one import a line only.
import datasets
import evaluate

from hf_relvit.training.metrics import relational_accuracy

_DESCRIPTION = (
    "Accuracy of same-different judgements with its Wilson interval, area under the ROC curve, and accuracy "
    "by kind of difference and by cell of the relational match-to-sample task."
)
_INPUTS = """
Args:
    predictions: logits, two a scene (different, same), or one margin a scene, positive for same.
    references: labels, 0 different, 1 same.
    difference: optional, kind of difference of each scene's pairs: 0 none, 1 both, 2 shape, 3 color.
    relation: optional, relation of each scene's pairs, 1 same: sample and display of relational match-to-sample.
Returns:
    accuracy, n, ci_low, ci_high (Wilson, 95 %), auc, floor, majority, and accuracy_<condition> for each condition.
Examples:
    >>> from hf_relvit.metrics import load_metric
    >>> load_metric().compute(predictions=[[2.0, 0.5], [0.1, 0.9]], references=[0, 1])["accuracy"]
    1.0
"""
_CITATION = """@inproceedings{lepori2024beyond,
  title = {Beyond the Doors of Perception: Vision Transformers Represent Relations Between Objects},
  author = {Lepori, Michael A. and Tartaglini, Alexa R. and Vong, Wai Keen and Serre, Thomas and Lake, Brenden M.
    and Pavlick, Ellie},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}"""


class RelationalAccuracy(evaluate.Metric):
    """See ``hf_relvit.training.metrics.relational_accuracy``."""

    def _info(self):
        label = datasets.Value("int64")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=[
                datasets.Features(
                    {"predictions": datasets.List(datasets.Value("float64")), "references": label}
                ),
                datasets.Features({"predictions": datasets.Value("float64"), "references": label}),
            ],
        )

    def _compute(self, *, predictions=None, references=None, **kwargs):
        return relational_accuracy(predictions, references, **kwargs)
