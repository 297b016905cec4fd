"""Step kinds: one module each; a kind is a frozen dataclass whose fields are its keys in pipelines.toml."""
