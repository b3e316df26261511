"""Trains the network of this example on the digits that scikit-learn ships.

    pip install -r requirements.txt
    python train.py             # a minute; writes ../digits.onnx

The digits are 8 x 8 pixels from 0 to 16. The network takes any number of them at once, as
(N, 64) floats, and gives the chances of the ten digits, (N, 10).
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from scipy.ndimage import affine_transform, gaussian_filter
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

COPIES = 30
SEVENS = 2000


def varied(image, random):
    """The digit a little turned, slanted, moved, of another size and another pen."""
    angle, slant = random.normal(0, 0.12), random.normal(0, 0.12)
    size = np.diag(random.normal(1, 0.08, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, 0], [slant, 1]]) @ size
    offset = 3.5 - matrix @ np.array([3.5, 3.5]) + random.normal(0, 0.35, 2)
    image = affine_transform(image, matrix, offset, order=1)
    image = gaussian_filter(image, random.uniform(0, 0.4))
    return np.clip(image * random.uniform(0.8, 1.6), 0, 16)


def plain_seven(random):
    """A seven of two strokes: those of the data have a bar."""
    corners = np.array([[5, 7], [5, 24], [27, 15]]) + random.normal(0, 1.8, (3, 2))
    y, x = np.mgrid[0:32, 0:32]
    ink = np.zeros((32, 32))
    for start, end in zip(corners, corners[1:]):
        for part in np.linspace(0, 1, 40):
            at = start + (end - start) * part
            ink = np.maximum(ink, np.clip(3.1 - np.hypot(y - at[0], x - at[1]), 0, 1))
    return ink.reshape(8, 4, 8, 4).sum((1, 3))


def exported(network):
    """The network as ONNX."""
    nodes, weights, last = [], [numpy_helper.from_array(np.float32(1 / 16), "sixteenth")], "scaled"
    nodes.append(helper.make_node("Mul", ["pixels", "sixteenth"], [last]))
    for layer, (matrix, bias) in enumerate(zip(network.coefs_, network.intercepts_)):
        weights.append(numpy_helper.from_array(matrix.astype(np.float32), f"matrix{layer}"))
        weights.append(numpy_helper.from_array(bias.astype(np.float32), f"bias{layer}"))
        nodes.append(helper.make_node("Gemm", [last, f"matrix{layer}", f"bias{layer}"], [f"sum{layer}"]))
        last = f"sum{layer}"
        if layer + 1 < len(network.coefs_):
            nodes.append(helper.make_node("Relu", [last], [f"layer{layer}"]))
            last = f"layer{layer}"
    nodes.append(helper.make_node("Softmax", [last], ["chances"], axis=1))
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("chances", onnx.TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def main():
    images, digits = load_digits(return_X_y=True)
    seen, unseen, seen_digits, unseen_digits = train_test_split(
        images, digits, test_size=0.2, random_state=1, stratify=digits
    )
    random = np.random.default_rng(1)
    copies = [varied(image.reshape(8, 8), random).ravel() for _ in range(COPIES) for image in seen]
    sevens = [varied(plain_seven(random), random).ravel() for _ in range(SEVENS)]
    x = np.concatenate([seen, copies, sevens]) / 16
    y = np.concatenate([seen_digits] * (COPIES + 1) + [np.full(SEVENS, 7)])
    network = MLPClassifier((96, 48), alpha=1e-4, batch_size=128, max_iter=20, random_state=1)
    network.fit(x, y)
    print(f"right: {network.score(unseen / 16, unseen_digits):.1%} of {len(unseen)} it has not seen")
    onnx.save(exported(network), Path(__file__).parent.parent / "digits.onnx")


if __name__ == "__main__":
    main()
