"""`python -m modxfer`: the command line."""

from modxfer.cli import main

if __name__ == "__main__":
    main()
