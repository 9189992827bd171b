"""Flash kits: one archive for a board with device/, tables/, a bundle, the board's wheels and an installer.

The command is export/commands/kit.py.
"""
