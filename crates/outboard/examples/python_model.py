"""What a real model would be: it is loaded when the module is imported."""

WEIGHTS = {"iris": 0.75}


def predict(features):
    if features["length"] <= 0:
        raise ValueError("a length is above 0")
    share = features["width"] / features["length"]
    return {"label": "iris", "certainty": WEIGHTS["iris"] + share / 2}


def tell(prompt):
    words = prompt.split()
    yield from words
    return len(words)


def endless():
    while True:
        pass
