"""Gradients of the normalisations on the JAX backend: python jax_gradients.py FILE.npz"""

import sys

import jax
import numpy as np

from transfuse_keras.layers.normalization import normalize


def main(path):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 5, 6, 7)).astype("float32") + 2
    gamma = 1 + 0.3 * rng.standard_normal(7).astype("float32")
    beta = rng.standard_normal(7).astype("float32")
    arrays = {"x": x, "gamma": gamma, "beta": beta}
    for kind, axes in (("batch", (0, 1, 2)), ("layer", (3,))):

        def total(x, gamma, beta, weight, axes=axes):
            return (weight * normalize(x, gamma, beta, axes, 1e-3)[0]).sum()

        gradients = jax.jit(jax.grad(total, (0, 1, 2)))(x, gamma, beta, np.cos(x))
        for name, gradient in zip(("x", "gamma", "beta"), gradients, strict=True):
            arrays[f"{kind}/{name}"] = np.asarray(gradient)
    np.savez(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
