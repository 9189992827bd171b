import argparse
import sys

from device.errors import run_command
from export.kit.cli import add_arguments, run

parser = argparse.ArgumentParser(prog="python -m export.kit", description="Build a flash kit for a board.")
add_arguments(parser)
arguments = parser.parse_args()
sys.exit(run_command(lambda: run(arguments)))
