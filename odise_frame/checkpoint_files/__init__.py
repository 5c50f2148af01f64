"""Weights in other people's files: read without trusting them, told apart, and turned into a model folder of ours."""
