"""python -m bench.fleet.mixed: what its table says, and that its devices are clients of their own."""

from bench.fleet.mixed import ALONE, BESIDE, told


def window(p99, answered=None, refused=0):
    figures = {"clean": {"latency_ms": {"p50": 2.0, "p99": p99, "max": 9.0}, "failures": {}, "answered": 10}}
    if answered is not None:
        figures["attacked"] = {"answered": answered, "failures": {"status 429": refused}}
    return figures


def test_the_table_sets_the_clean_devices_beside_themselves_alone():
    text = told({ALONE: [window(4.0), window(5.0), window(6.0)], BESIDE: [window(10.0, 100, 20), window(9.0, 80)]})
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert rows[2] == [ALONE, "2.00", "5.00", "1.00", "0", "-", "-"]
    assert rows[3] == [BESIDE, "2.00", "9.50", "1.90", "0", "90", "10"]
