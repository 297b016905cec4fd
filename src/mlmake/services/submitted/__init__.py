"""Builds that go on by themselves: handed over by one process, worked off by another, looked at by any."""
