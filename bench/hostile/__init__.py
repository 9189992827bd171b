"""What hostile clients cost the host's honest ones.

Each fault is one module in ``bench/hostile/faults``, found by its name, with

* ``DESCRIPTION: str``: what the hostile client does, for the table;
* ``OPTIONS: list[str]``: options of ``defq serve`` that this fault needs; ``{tokens}`` in one of them stands for
  a token file that the honest client and the hostile one have a token in;
* ``attack(port: int, stop: threading.Event, token: str | None) -> None``: runs until ``stop`` is set, in a process of its
  own; ``token`` is None where the options ask for none;
* ``OPEN_FILES: int``, optional: the limit of open files that the host starts with (``ulimit -n``).

Everything that a fault does is bounded in number, and goes to this machine alone. bench/hostile/target.py has what most
of them need: a connection, and requests for answers that the host accepts.
"""
