"""How much memory may be used, on a machine and in a container."""

from export.data.memory import available_bytes


def write(root, **files):
    for name, content in files.items():
        file = root / {"meminfo": "proc/meminfo"}.get(name, f"sys/fs/cgroup/memory.{name}")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def test_the_least_of_machine_and_container(tmp_path):
    assert available_bytes(tmp_path) is None
    write(tmp_path, meminfo="MemTotal:       9000 kB\nMemAvailable:   2000 kB\n", max="max\n", current="7000\n")
    assert available_bytes(tmp_path) == 2000 << 10
    write(tmp_path, max="500000\n", current="300000\n")
    assert available_bytes(tmp_path) == 200_000
    write(tmp_path, stat="anon 100000\nfile 90000\nfile_mapped 5\n")
    assert available_bytes(tmp_path) == 290_000


def test_this_machine():
    found = available_bytes()
    assert found is None or found > 0
