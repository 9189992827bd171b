#!/bin/sh
# Made by install.sh: the device runtime with the Python and the packages that were installed for it.
export @ENVIRONMENT@
# -I: a folder named device where you happen to be would else be taken for it
exec "@PREFIX@/current/venv/bin/python" -I -m device.commands.defq "$@"
