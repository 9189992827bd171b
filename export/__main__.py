import sys

from export.commands.cli import main

sys.exit(main())
