"""`python -m tickplant.writer`: one writer process, started by the supervisor."""

from tickplant.writer.writer_process import main, warm_up

__all__ = ["main", "warm_up"]

if __name__ == "__main__":
    main()
