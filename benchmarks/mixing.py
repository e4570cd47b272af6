"""How far mixtures stray from their weights: the worst prefix, for this project's schedule and others.

Run it with ``make bench-mixing``. Prints a table: the largest |count − t · weight| of any corpus at any of the first 200,000 samples.
"""

import numpy as np
import numpy.typing as npt

from phyagi_assets.order.schedule import Interleaved

SAMPLES = 200_000
CORPORA = (2, 8, 32, 128, 1000)


def skewed(corpora: int, draw: np.random.Generator) -> list[int]:
    """Rates over five orders of magnitude, some below one in 10,000."""
    return [int(rate) + 1 for rate in 10 ** draw.uniform(2, 7, corpora)]


def worst(order: npt.NDArray[np.int64], rates: list[int]) -> float:
    parts = np.array(rates) / sum(rates)
    passed = np.arange(1, len(order) + 1)
    return max(float(np.abs(np.cumsum(order == source) - passed * part).max()) for source, part in enumerate(parts))


def greedy(rates: list[int]) -> npt.NDArray[np.int64]:
    """Megatron-LM's rule: the corpus that is furthest behind what it should have given comes next."""
    parts = np.array(rates) / sum(rates)
    given = np.zeros(len(rates))
    order = np.empty(SAMPLES, dtype=np.int64)
    for sample in range(SAMPLES):
        order[sample] = np.argmax(parts * max(sample, 1) - given)
        given[order[sample]] += 1
    return order


def independent(rates: list[int]) -> npt.NDArray[np.int64]:
    """Each sample drawn by itself."""
    return np.random.default_rng(0).choice(len(rates), SAMPLES, p=np.array(rates) / sum(rates)).astype(np.int64)


def main() -> None:
    print("| corpora | this project | greedy (Megatron-LM) | independent draws | Tijdeman's bound |\n| --- | --- | --- | --- | --- |")
    for corpora in CORPORA:
        rates = skewed(corpora, np.random.default_rng(corpora))
        ours, _ = Interleaved(rates).locate(np.arange(SAMPLES))
        figures = [worst(order, rates) for order in (ours, greedy(rates), independent(rates))]
        print(f"| {corpora:,} | {' | '.join(f'{figure:.2f}' for figure in figures)} | {1 - 1 / (2 * corpora - 2):.3f} |")


if __name__ == "__main__":
    main()
