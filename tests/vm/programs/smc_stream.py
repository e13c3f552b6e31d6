# SPDX-License-Identifier: GPL-2.0-or-later
"""TCP programs over SMC-R, the kernel's shared memory over RDMA.

smc_stream.py serve DEVICE ADDRESS PORT | send DEVICE ADDRESS PORT MIB

Both tell the kernel an EID first, without which two hosts have nothing in common over RoCEv2, and that the RDMA device is
that of eth0.  The sender's data comes
back and is compared.  Both print "mode NAME, fallback REASON PEER": what the socket uses, and why when it is TCP.
"""

import ctypes
import hashlib
import os
import socket
import struct
import sys

AF_SMC = 43
NETLINK_SOCK_DIAG, NETLINK_GENERIC = 4, 16
REQUEST, ACK, DUMP = 1, 4, 0x300
ERROR, DONE = 2, 3
MODES = ("SMC-R", "TCP", "SMC-D")
EID = b"ERDMA.TEST".ljust(32) + b"\0"  # the kernel wants all of it


def attribute(kind, data):
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def attributes(data):
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind, data[4:length]
        data = data[(length + 3) & ~3:]


def messages(family, kind, flags, body):
    """What the kernel answers to one request: (type, body) each; OSError when it refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family) as link:
        link.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST | flags, 1, 0) + body)
        while True:
            data = link.recv(65536)
            while len(data) >= 16:
                length, kind = struct.unpack_from("=IH", data)
                body, data = data[16:length], data[(length + 3) & ~3:]
                if kind == ERROR:
                    error = -struct.unpack_from("=i", body)[0]
                    if error:
                        raise OSError(error, os.strerror(error))
                if kind in (ERROR, DONE):
                    return
                yield kind, body


def add(family, command, *given):
    """One command of a generic family; what is there already is no error."""
    name = attribute(2, family + b"\0")  # CTRL_ATTR_FAMILY_NAME
    found = None
    for _, body in messages(NETLINK_GENERIC, 16, ACK, struct.pack("=BBH", 3, 1, 0) + name):  # CTRL_CMD_GETFAMILY
        found = dict(attributes(body[4:])).get(1)  # CTRL_ATTR_FAMILY_ID
    number = struct.unpack("=H", found)[0]
    try:
        list(messages(NETLINK_GENERIC, number, ACK, struct.pack("=BBH", command, 1, 0) + b"".join(given)))
    except FileExistsError:
        pass


def prepare(device):
    """What an administrator does with smcr(8) and smc_pnet(8): an EID, and the device as that of eth0."""
    add(b"SMC_GEN_NETLINK", 10, attribute(1, EID))  # ADD_UEID
    add(b"SMC_PNETID", 2, attribute(1, b"NET1\0"), attribute(2, b"eth0\0"), attribute(3, device.encode() + b"\0"),
        attribute(4, b"\1"))  # name, interface, device and its port


def tell(sock):
    """Prints how this connection is carried."""
    own, peer = sock.getsockname()[1], sock.getpeername()[1]
    request = struct.pack("=BxxB48x", AF_SMC, 1 << 4)  # SMC_DIAG_FALLBACK
    for _, body in messages(NETLINK_SOCK_DIAG, 20, DUMP, request):
        if struct.unpack_from("!HH", body, 4) == (own, peer):
            extra = dict(attributes(body[4 + 48 + 4 + 8:])).get(5, bytes(8))
            print(f"mode {MODES[body[2]]}, fallback %#x %#x" % struct.unpack_from("=II", extra), flush=True)
            return
    print("mode unknown", flush=True)


def smc_socket():
    libc = ctypes.CDLL(None, use_errno=True)
    number = libc.socket(AF_SMC, socket.SOCK_STREAM, 0)
    if number < 0:
        raise OSError(ctypes.get_errno(), "AF_SMC")
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fileno=number)


def serve(address, port):
    listener = smc_socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(8)
    sock, _ = listener.accept()
    tell(sock)
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()


def send(address, port, mib):
    sock = smc_socket()
    sock.settimeout(60)
    sock.connect((address, port))
    tell(sock)
    sent, came = hashlib.sha256(), hashlib.sha256()
    for number in range(mib * 16):
        block = struct.pack("=I", number) * 16384
        sock.sendall(block)
        sent.update(block)
        left = len(block)
        while left:
            data = sock.recv(left)
            if not data:
                sys.exit("the peer closed")
            came.update(data)
            left -= len(data)
    sock.shutdown(socket.SHUT_WR)
    if sent.digest() != came.digest():
        sys.exit("other data came back")
    print(f"{mib} MiB there and back", flush=True)


if __name__ == "__main__":
    prepare(sys.argv[2])
    if sys.argv[1] == "serve":
        serve(sys.argv[3], int(sys.argv[4]))
    else:
        send(sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
