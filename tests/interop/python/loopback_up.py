"""Brings the loopback interface of a new network namespace up, as `ip link set lo up` does
where there is such a command."""

import fcntl
import socket
import struct

# From linux/sockios.h and linux/if.h; struct ifreq is a name and a union of 24 bytes.
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
IFREQ = "16sH22x"

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    answer = fcntl.ioctl(any_socket, SIOCGIFFLAGS, struct.pack(IFREQ, b"lo", 0))
    name, flags = struct.unpack(IFREQ, answer)
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack(IFREQ, name, flags | IFF_UP))
