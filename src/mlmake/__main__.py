"""`python -m mlmake` is `mlmake`."""

from mlmake.cli.entry import main

if __name__ == "__main__":
    main()
