"""Flash kits: one archive a board with device/, tables/, a bundle, the board's wheels and an installer; see cli.py."""
