import sys

from device.commands.cli import main

sys.exit(main())
