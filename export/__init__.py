"""The workstation side: trains and calibrates networks, crafts attacks, learns Q_def and writes bundles."""
