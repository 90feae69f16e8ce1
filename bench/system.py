"""What the agent costs a reading: memory, CPU, disk, fsync, bytes on the network, as the operating system counts them.

    python bench/system.py [--minutes 10] [--interval 1s]

One SDM630 (16 values) over Modbus TCP, uplink over mutual TLS to mosquitto with `wattpost receive` behind it, all
defaults. Three runs: the main one for memory, CPU and network, with the tutorial script (no buffer, JSON) beside it on
the same meter and broker, and at its end both once more with their pages kept (`resting.py`); one under strace, which
slows it, for the fsyncs; one with the buffer on a file system of its own (needs root), for what the block device is
told to write.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from accounts import account_of, cpu_clock_s, device_written_bytes, memory_kb
from resting import page_cost_us
from rig import Rig, end, wait_until

TARGET = ("target", "40", "2.9", "1,500", "0.25", "25")
PEERS = (
    ("ThingsBoard gateway, SQLite (WAL, NORMAL)", "66", "311", "21,618", "0", "409"),
    ("tutorial script (pymodbus + paho, no buffer)", "28", "2.9", "0", "0", "483"),
    ("the script + mosquitto bridge, saved on change", "37", "5.5", "5,916", "1", "482"),
    ("Node-RED", "95", "9.3", "0", "0", "448"),
    ("collectd (C)", "8", "5.5", "0", "0", "1,437"),
)
WARM_UP_S = 20.0
STRACE_MINUTES = 5.0
LOOP_MINUTES = 5.0
KEPT_MINUTES = 3.0
SETTLE_S = 3.0


def readings(rig: Rig) -> int:
    status = rig.agent_status()
    return 0 if status is None else sum(meter.readings for meter in status.meters.values())


def run_main(folder: Path, minutes: float, interval: str) -> dict[str, float]:
    """Memory, CPU, writes, network; and memory and CPU of the tutorial script in the same minutes."""
    with Rig.open(folder, interval=interval) as rig:
        began_s = time.monotonic()
        agent = rig.start_agent(rig.write_config(status_interval="1s"))
        wait_until(lambda: readings(rig) > 0, 60, "the first reading")
        first_s = time.monotonic() - began_s
        end(agent)
        agent = rig.start_agent(rig.write_config())
        tutorial = rig.start_tutorial()
        time.sleep(WARM_UP_S)
        start, start_cpu_s = account_of(agent.pid), cpu_clock_s(agent.pid)
        start_served, start_bytes, start_tutorial = rig.served(), rig.uplink_bytes(), account_of(tutorial.pid)
        start_s = time.monotonic()
        time.sleep(minutes * 60 - WARM_UP_S)
        used, cpu_s = account_of(agent.pid) - start, cpu_clock_s(agent.pid) - start_cpu_s
        count = (rig.served() - start_served) / 2  # the tutorial script reads the same meter
        network, beside = rig.uplink_bytes() - start_bytes, account_of(tutorial.pid) - start_tutorial
        hours = (time.monotonic() - start_s) / 3600
        rss_kb, pss_kb = memory_kb(agent.pid)
        tutorial_rss_kb, _ = memory_kb(tutorial.pid)
        kept = run_kept(rig, agent.pid, tutorial.pid, min(minutes, KEPT_MINUTES))
    return {
        "first_s": first_s,
        "rss_mb": rss_kb * 1024 / 1e6,
        "pss_mb": pss_kb * 1024 / 1e6,
        "cpu_s_per_hour": used.cpu_s / hours,
        "cpu_clock_s_per_hour": cpu_s / hours,
        "cpu_ms_per_reading": used.cpu_s * 1000 / count,
        "written_per_reading": used.written_bytes / count,
        "wchar_per_reading": used.wchar_bytes / count,
        "network_per_reading": network / count,
        "readings": count,
        "tutorial_rss_mb": tutorial_rss_kb * 1024 / 1e6,
        "tutorial_cpu_s_per_hour": beside.cpu_s / hours,
        "cpu_ratio": used.cpu_s / beside.cpu_s,
        **kept,
        "rested_page_us": page_cost_us(1.0),
        "used_page_us": page_cost_us(0.0),
    }


def run_kept(rig: Rig, agent: int, tutorial: int, minutes: float) -> dict[str, float]:
    """CPU of both while nothing takes the pages away that they use."""
    keeper = rig.spawn(
        [sys.executable, str(Path(__file__).with_name("resting.py")), str(agent), str(tutorial)], "keeper"
    )
    time.sleep(SETTLE_S)
    start, start_tutorial, start_s = account_of(agent), account_of(tutorial), time.monotonic()
    time.sleep(minutes * 60)
    used, beside = account_of(agent) - start, account_of(tutorial) - start_tutorial
    hours = (time.monotonic() - start_s) / 3600
    if keeper.poll() is not None:
        raise RuntimeError(f"resting.py ended; see {rig.folder}/keeper.log")
    return {
        "kept_cpu_s_per_hour": used.cpu_s / hours,
        "kept_tutorial_cpu_s_per_hour": beside.cpu_s / hours,
        "kept_cpu_ratio": used.cpu_s / beside.cpu_s,
    }


def run_traced(folder: Path, minutes: float, interval: str) -> dict[str, float]:
    """fsync and fdatasync calls per reading, counted by strace -c from the end of the warm-up on."""
    with Rig.open(folder, interval=interval) as rig:
        agent = rig.start_agent(rig.write_config())
        wait_until(lambda: readings(rig) > 0, 60, "the first reading")
        time.sleep(WARM_UP_S)
        log, start = folder / "strace.txt", rig.served()
        command = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", str(log), "-p", str(agent.pid)]
        tracer = rig.spawn(command, "strace")
        time.sleep(minutes * 60)
        count = rig.served() - start
        tracer.send_signal(signal.SIGINT)
        tracer.wait(30)
        report = log.read_text()
    calls = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*sync$", report, re.MULTILINE)
    return {"fsyncs_per_reading": sum(map(int, calls)) / count}


@contextlib.contextmanager
def loop_mount(folder: Path, megabytes: int = 64) -> Iterator[tuple[Path, str]]:
    """An ext4 of its own on a loop device: `(mount point, device name)`."""
    image, mount = folder / "disk.img", folder / "disk"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount.mkdir()
    subprocess.run(["mount", "-o", "loop,noatime", str(image), str(mount)], check=True)
    try:
        source = subprocess.run(["findmnt", "-no", "SOURCE", str(mount)], check=True, capture_output=True, text=True)
        yield mount, Path(source.stdout.strip()).name
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def run_on_loop(folder: Path, minutes: float, interval: str) -> dict[str, float]:
    """Bytes that the block device of the buffer was told to write, journal of the file system included."""
    with loop_mount(folder) as (mount, device), Rig.open(folder, interval=interval) as rig:
        rig.buffer = mount / "buffer.db"
        agent = rig.start_agent(rig.write_config())
        wait_until(lambda: readings(rig) > 0, 60, "the first reading")
        time.sleep(WARM_UP_S)
        start, start_n = device_written_bytes(device), readings(rig)
        time.sleep(minutes * 60)
        written, count = device_written_bytes(device) - start, readings(rig) - start_n
        end(agent)
    return {"device_per_reading": written / count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--interval", default="1s")
    parser.add_argument("--only", choices=["main", "strace", "loop"])
    options = parser.parse_args()
    result: dict[str, float] = {}
    runs = {
        "main": (run_main, options.minutes),
        "strace": (run_traced, min(options.minutes, STRACE_MINUTES)),
        "loop": (run_on_loop, min(options.minutes, LOOP_MINUTES)),
    }
    for name, (run, minutes) in runs.items():
        if options.only not in (None, name):
            continue
        if name == "loop" and os.geteuid() != 0:
            print("the block device is not measured: mounting needs root")
            continue
        print(f"{name}: {minutes:g} minutes ...", flush=True)
        with tempfile.TemporaryDirectory(prefix="wattpost-bench-") as folder:
            result |= run(Path(folder), minutes, options.interval)
    for name, value in result.items():
        print(f"  {name:<24} {value:,.3f}")
    if options.only is None:
        print(table(result))


def table(result: dict[str, float]) -> str:
    """Ours beside the target and the peers, as Markdown."""
    head = ("1 meter, 16 values, 1 Hz", "RSS MB", "CPU s/h", "disk B/reading", "fsync/reading", "TLS B/reading")
    ours = (
        "wattpost",
        f"{result['rss_mb']:.1f}",
        f"{result['cpu_s_per_hour']:.2f}",
        f"{result['written_per_reading']:,.0f}",
        f"{result['fsyncs_per_reading']:.2f}",
        f"{result['network_per_reading']:.1f}",
    )
    rss, cpu = f"{result['tutorial_rss_mb']:.1f}", f"{result['tutorial_cpu_s_per_hour']:.2f}"
    beside = ("tutorial script, in the same minutes", rss, cpu, "0", "0", "")
    kept = ("wattpost, its pages kept", "", f"{result['kept_cpu_s_per_hour']:.2f}", "", "", "")
    kept_beside = ("tutorial script, its pages kept", "", f"{result['kept_tutorial_cpu_s_per_hour']:.2f}", "", "", "")
    rows = [head, ("---",) * len(head), ours, beside, kept, kept_beside, TARGET, *PEERS]
    text = "\n".join(f"| {row[0]:<46} | " + " | ".join(f"{cell:>14}" for cell in row[1:]) + " |" for row in rows)
    device = f"{result['device_per_reading']:,.0f}" if "device_per_reading" in result else "not measured"
    note = f"Told to the block device, journal included: {device} B/reading. Peers: of 2026-11, another machine."
    rest = (
        f"A page costs {result['rested_page_us']:.1f} us here when it was not touched for a second, and"
        f" {result['used_page_us']:.2f} us at once: what is more than some 0.2 us is the host's (bench/resting.py)."
    )
    return f"\n{text}\n\n{note}\n{rest}"


if __name__ == "__main__":
    sys.exit(main())
