"""Ports on this machine for servers that cannot choose one themselves."""

import socket
import time


def free_port():
    """A port that nobody listened on a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until_it_listens(port, process, limit_s=20):
    """Returns as soon as the port answers; fails if its process ends, or takes too long."""
    end = time.monotonic() + limit_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"no server came up on port {port}") from error
            time.sleep(0.005)
