"""`python -m jaxlth`: the command line, where its script is not on the path."""

import sys

from jaxlth import cli

if __name__ == "__main__":
    sys.exit(cli.main())
