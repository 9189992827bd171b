"""python -m device: the commands of the device."""

import sys

from device.commands.cli import main

sys.exit(main())
