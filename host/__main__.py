"""python -m host: the commands of the host."""

import sys

from device.system.console import open_streams

open_streams()  # before libraries open files of their own

from host.cli import main  # noqa: E402

sys.exit(main())
