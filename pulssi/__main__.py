"""`python -m pulssi`: the same as the `pulssi` command"""

from pulssi.cli import main

main()
