"""Running: order by doit, slots, staging, and the ledger that judges before and remembers after."""
