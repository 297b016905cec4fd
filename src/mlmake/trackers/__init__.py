"""Trackers: servers that are told of runs as well; one module each."""
