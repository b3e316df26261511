"""Trains the model of this example: a GRU that writes like "Alice's Adventures in Wonderland".

    pip install -r requirements.txt
    python train.py             # six minutes on two cores; writes ../model.bin

The file is one line of JSON (the size and the tokens), then matrices row by row: each row is
a scale (f32) and its weights (i8). src/model.rs reads it.
"""

import argparse
import json
import re
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

HERE = Path(__file__).parent
HIDDEN = 320
TOKENS = 800
WINDOW, BATCH = 80, 32
DROPOUT = 0.35


def text():
    """The book as paragraphs on one line each, without its title, pictures and chapter heads."""
    book = (HERE / "alice.txt").read_text(encoding="ascii", errors="ignore")
    book = book[book.index("  Alice was beginning") :].split("THE END")[0]
    book = re.sub(r"CHAPTER [IVX]+\s+.*\n", "\n\n", book)
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", book):
        line = " ".join(paragraph.split())
        if re.search("[a-z]", line):
            paragraphs.append(line)
    # The edition writes `quotes' like this.
    line = "\n".join(paragraphs).replace("`", "\u2018").replace("'", "\u2019")
    return re.sub(r"_|\*", "", line)


def tokens_of(book):
    """Byte-pair encoding, of characters, within words that begin with their space."""
    words = Counter(re.findall(r" ?[A-Za-z]+| ?[^A-Za-z\s]+|\s", book))
    words = {tuple(word): count for word, count in words.items()}
    tokens = sorted(set(book))
    while len(tokens) < TOKENS:
        pairs = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        (left, right), _ = max(pairs.items(), key=lambda pair: (pair[1], pair[0]))
        tokens.append(left + right)
        merged = {}
        for word, count in words.items():
            parts, at = [], 0
            while at < len(word):
                both = word[at : at + 2] == (left, right)
                parts.append(left + right if both else word[at])
                at += 2 if both else 1
            merged[tuple(parts)] = merged.get(tuple(parts), 0) + count
        words = merged
    return list(dict.fromkeys(tokens))


def encode(line, tokens):
    """The longest token first, as src/model.rs does it."""
    numbers = {token: number for number, token in enumerate(tokens)}
    longest = max(map(len, tokens))
    encoded, at = [], 0
    while at < len(line):
        for length in range(longest, 0, -1):
            token = line[at : at + length]
            if token in numbers:
                encoded.append(numbers[token])
                at += len(token)
                break
    return np.array(encoded, dtype=np.int32)


def start(key, tokens):
    keys = jax.random.split(key, 3)
    size = HIDDEN**-0.5
    return {
        "embedding": jax.random.normal(keys[0], (tokens, HIDDEN)) * size,
        "input": jax.random.normal(keys[1], (3 * HIDDEN, HIDDEN)) * size,
        "state": jax.random.normal(keys[2], (3 * HIDDEN, HIDDEN)) * size,
        "bias": jnp.zeros(3 * HIDDEN),
        "state_bias": jnp.zeros(HIDDEN),
        "output_bias": jnp.zeros(tokens),
    }


def dropped(key, values):
    kept = jax.random.bernoulli(key, 1 - DROPOUT, values.shape)
    return jnp.where(kept, values / (1 - DROPOUT), 0.0)


def loss(weights, key, window):
    """Of a window for each of a batch: (BATCH, WINDOW + 1) numbers of tokens."""
    first, second = jax.random.split(key)
    embedded = dropped(first, weights["embedding"][window[:, :-1]] * HIDDEN**0.5)
    inputs = embedded @ weights["input"].T + weights["bias"]

    def step(state, x):
        hidden = state @ weights["state"].T
        update, reset = jax.nn.sigmoid(x[:, : 2 * HIDDEN] + hidden[:, : 2 * HIDDEN]).T.reshape(2, HIDDEN, -1)
        new = jnp.tanh(x[:, 2 * HIDDEN :] + reset.T * (hidden[:, 2 * HIDDEN :] + weights["state_bias"]))
        state = (1 - update.T) * new + update.T * state
        return state, state

    _, states = jax.lax.scan(step, jnp.zeros((window.shape[0], HIDDEN)), inputs.swapaxes(0, 1))
    states = dropped(second, states.swapaxes(0, 1))
    logits = states @ weights["embedding"].T + weights["output_bias"]
    chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), window[:, 1:, None], axis=-1)
    return -chosen.mean()


@jax.jit
def learn(weights, first, second, key, window, step, rate):
    """A step of Adam, with gradients cut at a norm of 1."""
    value, slope = jax.value_and_grad(loss)(weights, key, window)
    norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(slope)))
    slope = jax.tree.map(lambda g: g / jnp.maximum(norm, 1.0), slope)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, second, slope)
    fix = jnp.sqrt(1 - 0.99**step) / (1 - 0.9**step)
    weights = jax.tree.map(lambda w, m, v: w - rate * fix * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
    return weights, first, second, value


def write(path, weights, tokens):
    with open(path, "wb") as file:
        file.write(json.dumps({"hidden": HIDDEN, "tokens": tokens}, ensure_ascii=False).encode() + b"\n")
        for name in ("embedding", "input", "state", "bias", "state_bias", "output_bias"):
            for row in np.atleast_2d(np.asarray(weights[name])):
                scale = np.float32(np.abs(row).max() / 127 or 1.0)
                file.write(scale.tobytes())
                file.write(np.round(row / scale).astype(np.int8).tobytes())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--epochs", type=int, default=50)
    epochs = arguments.parse_args().epochs
    book = text()
    tokens = tokens_of(book)
    encoded = encode(book, tokens)
    per_epoch = len(encoded) // (WINDOW * BATCH)
    print(f"{len(book)} characters, {len(tokens)} tokens, {len(encoded)} in the book")
    random = np.random.default_rng(1)
    key = jax.random.key(1)
    weights = start(key, len(tokens))
    first = jax.tree.map(jnp.zeros_like, weights)
    second = jax.tree.map(jnp.zeros_like, weights)
    step, began = 0, time.monotonic()
    for epoch in range(epochs):
        sum_of_losses = 0.0
        for _ in range(per_epoch):
            step += 1
            done = step / (epochs * per_epoch)
            rate = 3e-3 * min(1.0, step / 50) * (0.5 + 0.5 * np.cos(np.pi * done))
            starts = random.integers(0, len(encoded) - WINDOW - 1, BATCH)
            window = np.stack([encoded[at : at + WINDOW + 1] for at in starts])
            key, now = jax.random.split(key)
            weights, first, second, value = learn(weights, first, second, now, window, step, rate)
            sum_of_losses += float(value)
        print(f"epoch {epoch + 1}: loss {sum_of_losses / per_epoch:.3f}, {time.monotonic() - began:.0f} s", flush=True)
        if (epoch + 1) % 10 == 0 or epoch + 1 == epochs:
            write(HERE.parent / "model.bin", weights, tokens)


if __name__ == "__main__":
    main()
