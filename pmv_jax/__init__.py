"""pmv_jax: from one photograph to a 3D head, by pseudo-multi-view inversion of a tri-plane GAN."""
