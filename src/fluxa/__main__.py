"""`python -m fluxa`: the same program as `fluxa`."""

from fluxa.cli.main import main

if __name__ == "__main__":
    main()
