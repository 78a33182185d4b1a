"""`python -m tickplant.engine`: one engine process, started by the supervisor."""

from tickplant.engine.engine_process import main, warm_up

__all__ = ["main", "warm_up"]

if __name__ == "__main__":
    main()
