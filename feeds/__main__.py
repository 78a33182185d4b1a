"""`python -m tickplant.feeds`: one feed process, started by the supervisor."""

from tickplant.feeds.feed_process import main, warm_up

__all__ = ["main", "warm_up"]

if __name__ == "__main__":
    main()
