"""Where jobs run: one module per way of running a process."""
