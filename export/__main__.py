"""python -m export: the commands of the export."""

import sys

from export.commands.cli import main

sys.exit(main())
