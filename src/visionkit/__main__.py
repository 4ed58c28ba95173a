"""`python -m visionkit` is the command `visionkit`."""

from .cli import main

if __name__ == "__main__":
    main()
