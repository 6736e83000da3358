"""`python -m openeurollm` is the command `openeurollm`."""

from openeurollm.cli import main

main()
