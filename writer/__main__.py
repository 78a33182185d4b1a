"""`python -m tickplant.writer`: one writer process, started by the supervisor."""

from tickplant.writer.process import main

if __name__ == "__main__":
    main()
