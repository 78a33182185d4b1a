"""`python -m tickplant.engine`: one engine process, started by the supervisor."""

from tickplant.engine.process import main

if __name__ == "__main__":
    main()
