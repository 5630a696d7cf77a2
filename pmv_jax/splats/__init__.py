"""Heads as Gaussian splats: fitted to a generator's views, written as files that other programs open."""
