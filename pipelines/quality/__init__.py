"""How good a model is in the synthetic world, and beside it what is left when a part of it is taken away."""
