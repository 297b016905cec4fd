"""From `pipelines.toml` to a checked and expanded project. Nothing of a project is executed to read it."""
