"""The other ways of Python: `echo` gives bytes back over a socket pair, which is its stdin;
`pool` times ProcessPoolExecutor, one task after the other, as often as it is told."""

import socket
import sys
import time


def echo(size):
    peer = socket.socket(fileno=0)
    while data := peer.recv(size):
        peer.sendall(data)


def pool():
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as workers:
        workers.submit(abs, 1).result()
        for line in sys.stdin:
            times = []
            for _ in range(int(line)):
                start = time.perf_counter()
                if workers.submit(abs, -11).result() != 11:
                    sys.exit("a wrong result")
                times.append(time.perf_counter() - start)
            print(*times, flush=True)


if __name__ == "__main__":
    echo(int(sys.argv[2])) if sys.argv[1] == "echo" else pool()
