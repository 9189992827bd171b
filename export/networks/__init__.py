"""Networks, one file each with its NetworkSpec (find.py finds them), and what all of them share."""
