"""`python -m tickplant` is the `tickplant` command."""

from tickplant.cli import main

if __name__ == "__main__":
    main()
