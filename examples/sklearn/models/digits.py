"""The model: a forest that scikit-learn grows from the digits that it ships.

Each worker imports this module once, before its first task. It is ordinary Python, and knows
nothing of the server.
"""

from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier

# In earnest this reads a file. Here it takes less than a second.
_images, _digits = load_digits(return_X_y=True)
_model = ExtraTreesClassifier(100, random_state=1).fit(_images, _digits)


def chances(drawings: list[list[float]]) -> list[list[float]]:
    """The chances of the ten digits, for each of several drawings of 8 x 8 pixels."""
    return _model.predict_proba(drawings).tolist()
