"""Holds sessions that do nothing: `crowd.py HOST PORT COUNT`. Says `held COUNT` when all are let in, and ends them when
its standard input ends."""

import resource
import socket
import struct
import sys


def start(host, port):
    client = socket.create_connection((host, port))
    body = struct.pack(">I", 3 << 16) + b"user\0lodedb\0database\0lodedb\0\0"
    client.sendall(struct.pack(">I", len(body) + 4) + body)
    return client


def wait_until_ready(client):
    with client.makefile("rb") as stream:
        while True:
            kind = stream.read(1)
            (length,) = struct.unpack(">I", stream.read(4))
            body = stream.read(length - 4)
            if kind == b"E":
                sys.exit(f"refused: {body}")
            if kind == b"Z":
                return


def main():
    host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    clients = []
    # As many at once as the server lets start at once.
    for _ in range(0, count, 50):
        some = [start(host, port) for _ in range(min(50, count - len(clients)))]
        for client in some:
            wait_until_ready(client)
        clients += some
    print(f"held {len(clients)}", flush=True)
    sys.stdin.read()


main()
