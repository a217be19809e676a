"""Free ports."""

import socket

import pytest

from roots_devstack.errors import DevstackError
from roots_devstack.processes import ports


def test_ports_differ_when_reserved_at_once() -> None:
    """Two parts of a stack never get the same port."""
    reserved = [ports.reserve() for _ in range(50)]

    assert 50 == len(set(reserved))


def test_claim_names_the_setting_when_the_port_is_taken() -> None:
    """Whoever starts the stack is told which variable sets another port."""
    with socket.create_server((ports.HOST, 0)) as listener:
        port = listener.getsockname()[1]

        with pytest.raises(DevstackError) as failure:
            ports.claim(port, "ROOTS_PORT")

    assert f"port {port} is taken; set ROOTS_PORT to another one, or to 0 for any that is free" == str(failure.value)
