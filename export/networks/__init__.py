"""Networks, one file each with its NetworkSpec (registry.py finds them), and what all of them share."""
