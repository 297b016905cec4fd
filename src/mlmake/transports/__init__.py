"""Ways to a host, and the agent that works there."""
