"""The service without a free file descriptor: it waits, answers its probes, and goes on."""

import http.client
import json
import os
import resource
import time
from pathlib import Path

from tests.testkit.deadlines import clock, stretched, wait_until

from .support import Nats, Service


def cpu_seconds(pid: int) -> float:
    """Return how much time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_service_waits_and_answers_its_probes_when_descriptors_are_used_up(nats: Nats, tmp_path: Path) -> None:
    """I7: who connects meanwhile is answered afterwards, and one line of the log says what was missing."""
    with Service(nats, tmp_path) as service:
        wait_until(service.is_ready)
        pid = service.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        assert soft == hard
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir()), hard))
        sent = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=stretched(20)) for _ in range(4)]
        for connection in sent:
            connection.request("GET", "/nowhere")
        cpu, began = cpu_seconds(pid), time.monotonic()
        while time.monotonic() - began < 2:
            asked = clock()
            for probe in ("/livez", "/readyz"):
                assert service.http.request("GET", f"http://127.0.0.1:{service.admin_port}{probe}").status == 200
            assert clock() - asked < 1
        assert cpu_seconds(pid) - cpu < 0.6 * (time.monotonic() - began)

        resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))

        assert [404] * 4 == [connection.getresponse().status for connection in sent]
        for connection in sent:
            connection.close()
        lines = [json.loads(line) for line in service.log_file.read_text(encoding="utf-8").splitlines()]
        ports = [line["port"] for line in lines if line["event"] == "descriptors_used_up"]
        assert len(set(ports)) == len(ports)
        assert service.port in ports
