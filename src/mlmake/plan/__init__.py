"""What to build and why: selection, staleness, explanations, drawings."""
