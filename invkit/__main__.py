"""`python -m invkit` is the command `invkit`."""

from invkit.cli import main

if __name__ == "__main__":
    main()
