"""The agent: what mlmake runs on a host. It is sent there as one file, and needs Python 3.8 and its standard library.

No module in here imports any other part of mlmake, nor anything that Python 3.8 does not have.
"""
