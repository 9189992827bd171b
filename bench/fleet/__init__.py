"""How many devices one host can serve: a fleet of cameras replays recorded traffic, open loop, until answers are late.

``trace`` records what one real device sends, ``generator`` plays it for N devices, ``search`` finds the largest N,
``report`` makes the table and the plot; ``python -m bench.fleet`` runs all of it.
"""
