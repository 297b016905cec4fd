"""A step of kind `transfer` at work: the process that lists, compares, moves and checks.

It is a job like any other: it prints into its log, and whatever ends it ends all of it.
"""
