"""FLUX.1 in JAX: networks, samplers, checkpoints. Importing this package imports neither jax nor flax."""
