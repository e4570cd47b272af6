"""Train a small bigram model on the demo mixture with JAX, from batches of NumPy arrays; torch is not needed.

Install JAX first: ``pip install jax``.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

from phyagi_assets.reading import MixtureLoader, load_mixture

Parameters = dict[str, jax.Array]
WIDTH = 64


def loss_of(parameters: Parameters, ids: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean loss of predicting each token from the one before it; a label of -100 does not count, and 0 if none counts."""
    scores = jax.nn.log_softmax(parameters["read"][ids[:, :-1]] @ parameters["write"])
    wanted = labels[:, 1:]
    counts = wanted >= 0
    chosen = jnp.take_along_axis(scores, jnp.where(counts, wanted, 0)[..., None], axis=-1)[..., 0]
    return -(chosen * counts).sum() / jnp.maximum(counts.sum(), 1)  # without labels, 0 / 0 would make the parameters NaN


@jax.jit
def step(parameters: Parameters, ids: jax.Array, labels: jax.Array) -> tuple[Parameters, jax.Array]:
    """Return the parameters after one step along the signs of the gradient, and the loss before it."""
    loss, gradient = jax.value_and_grad(loss_of)(parameters, ids, labels)
    return jax.tree.map(lambda value, slope: value - 0.01 * jnp.sign(slope), parameters, gradient), loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--vocabulary", type=int, default=50_257, help="number of tokens  [default: that of GPT-2]")
    given = parser.parse_args()
    draw = np.random.default_rng(0)
    parameters = {
        "read": jnp.asarray(draw.normal(size=(given.vocabulary, WIDTH)) / WIDTH, dtype=jnp.float32),
        "write": jnp.asarray(draw.normal(size=(WIDTH, given.vocabulary)) / WIDTH, dtype=jnp.float32),
    }
    # On several hosts, each reads its own part: rank=jax.process_index(), world_size=jax.process_count().
    loader = MixtureLoader(load_mixture("demo").train, batch_size=given.batch_size, endless=True)
    for number, batch in zip(range(1, given.steps + 1), loader, strict=False):
        parameters, loss = step(parameters, batch["input_ids"], batch["labels"])
        if number in (1, given.steps):
            print(f"step {number}: loss {loss:.3f}, next position {loader.position}", flush=True)


if __name__ == "__main__":
    main()
