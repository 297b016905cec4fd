"""`python -m mlmake` is `mlmake`."""

from mlmake.cli.main import main

if __name__ == "__main__":
    main()
