"""`python -m invkit` is the command `invkit`."""

from invkit.cli.main import main

if __name__ == "__main__":
    main()
