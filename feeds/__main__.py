"""`python -m tickplant.feeds`: one feed process, started by the supervisor."""

from tickplant.feeds.process import main

if __name__ == "__main__":
    main()
