"""The command line: words in, events and listings out."""
