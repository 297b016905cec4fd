"""Watching: what changes is built again, as it changes or when its time has come."""
