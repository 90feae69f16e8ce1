"""The peer: what a tutorial tells one to write. pymodbus, paho, QoS 1, JSON, no buffer; it loses what it cannot send.

python tutorial.py METER_PORT BROKER_PORT CA CERT KEY
"""

from __future__ import annotations

import json
import sys
import time

import paho.mqtt.client as mqtt
from pymodbus.client import ModbusTcpClient

FIELDS = (
    ("voltage_l1", 0), ("voltage_l2", 2), ("voltage_l3", 4),
    ("current_l1", 6), ("current_l2", 8), ("current_l3", 10),
    ("power_l1", 12), ("power_l2", 14), ("power_l3", 16),
    ("power", 52), ("reactive", 60), ("power_factor", 62), ("frequency", 70),
    ("import", 72), ("export", 74), ("reactive_import", 76),
)  # fmt: skip


def main() -> None:
    meter_port, broker_port, ca, cert, key = sys.argv[1:]
    meter = ModbusTcpClient("127.0.0.1", port=int(meter_port))
    meter.connect()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="tutorial", protocol=mqtt.MQTTv5)
    client.tls_set(ca, cert, key)
    client.connect("localhost", int(broker_port))
    client.loop_start()
    next_s = time.monotonic()
    while True:
        words = meter.read_input_registers(0, count=78, device_id=1).registers
        reading = {
            name: meter.convert_from_registers(words[at : at + 2], meter.DATATYPE.FLOAT32) for name, at in FIELDS
        }
        client.publish("tutorial/meter", json.dumps({"ts": time.time(), **reading}), qos=1)
        next_s += 1
        time.sleep(max(0.0, next_s - time.monotonic()))


if __name__ == "__main__":
    main()
