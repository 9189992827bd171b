"""The buyer's question: where should what run? All ways to run a network, on the same frames and over the same links.

python -m bench.against measures them and writes one table as JSON, as Markdown and, where Matplotlib is, as a plot.
python -m bench.against.check says how often ``defq plan`` names the best of them.
"""
