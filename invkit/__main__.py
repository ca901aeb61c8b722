"""Run the command `invkit` with `python -m invkit`."""

from invkit.cli.main import main

if __name__ == "__main__":
    main()
