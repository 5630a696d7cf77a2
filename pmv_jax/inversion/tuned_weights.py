"""Which of a generator's parameters are tuned, and how a generator is put together from those and its untuned ones.

What is tuned is a tree like the parameters', without the branches that stay as they are. In a low-rank fit an array is
replaced by two factors, W = W0 + rows @ columns / sqrt(rank), as in LoRA (arXiv 2106.09685): gradients and Adam's two
moments, each otherwise as large as the generator, are as small as the factors are.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from pmv_jax.config import WeightsConfig
from pmv_jax.models.generator import Generator

Tree = Any

_FACTORS = {"low_rank_rows", "low_rank_columns"}


def start(params: Tree, config: WeightsConfig) -> Tree:
    """What is to be tuned, such that `merged` gives the untuned generator at first.

    Args:
      params: of the generator.
      config: all of them, or a change of low rank of all but the mapping network's.

    Returns:
      A tree of arrays; none of them is a copy.
    """
    if config.rank is None:
        return params
    backbone = {"backbone": {"synthesis": params["backbone"]["synthesis"]}}
    others = {name: part for name, part in params.items() if name != "backbone"}
    leaves, structure = jax.tree.flatten({**backbone, **others})
    return structure.unflatten([_factors(leaf, config.rank, i) for i, leaf in enumerate(leaves)])


def merged(generator: Generator, tuned: Tree) -> Generator:
    """The generator with what was tuned (`start`) in the place of its own parameters."""
    return generator.with_params(_merge(generator.params, tuned))


def _merge(own: Tree, tuned: Tree) -> Tree:
    if not isinstance(tuned, dict):
        return tuned
    if tuned.keys() == _FACTORS:
        rows, columns = tuned["low_rank_rows"], tuned["low_rank_columns"]
        product = jnp.matmul(rows, columns, precision="highest") / math.sqrt(len(columns))
        return own + product.reshape(own.shape)
    return {**own, **{name: _merge(own[name], part) for name, part in tuned.items()}}


def _factors(leaf: Array, rank: int, index: int) -> Tree:
    """The factors of a change of `leaf`, its last axis against all others; the leaf itself, if that is no larger.

    Rows are random, columns zero: the first step moves columns alone, by what is best for those rows.
    """
    columns = leaf.shape[-1] if leaf.ndim else 1
    height = leaf.size // columns
    if rank * (height + columns) >= leaf.size:
        return leaf
    rows = jax.random.normal(jax.random.fold_in(jax.random.key(0), index), (height, rank))
    return {"low_rank_rows": rows, "low_rank_columns": jnp.zeros((rank, columns))}
