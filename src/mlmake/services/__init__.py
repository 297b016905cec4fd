"""What stands above the engine: what a project's history tells."""
