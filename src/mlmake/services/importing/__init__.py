"""Pipelines of other tools as a `pipelines.toml`."""
