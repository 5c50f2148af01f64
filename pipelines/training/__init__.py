"""Training ODISE in the paper's four stages on the synthetic world: `python -m pipelines.training --help`."""
