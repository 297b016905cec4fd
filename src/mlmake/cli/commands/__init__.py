"""One command, one module, one `command`."""
