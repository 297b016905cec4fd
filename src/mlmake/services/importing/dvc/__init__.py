"""A `dvc.yaml` as a `pipelines.toml`."""
