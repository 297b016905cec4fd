"""mlmake side by side with make, ninja, doit, DVC and Snakemake: `python -m benchmarks` (see README.md)."""
