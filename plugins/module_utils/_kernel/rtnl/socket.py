# Copyright (c) 2026 the ebpf.lab authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One rtnetlink socket in one namespace: requests sent in batches, dumps, and the kernel's words on refusal.

pyroute2 encodes the requests. Its sockets are not used: they wait for each answer before the next request and are set
up anew for each namespace, which costs several times what the kernel does. Dumps are read with the few lines of
``attributes``, 15 times cheaper than decoding all of each object when three of its fifty attributes are wanted; so a
run that changes nothing need not import pyroute2 at all.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import typing as t
from dataclasses import dataclass

from ..._core.errors import KernelRefused
from ..netns import Identity, in_netns

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_EXT_ACK = 10, 11
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x001, 0x004, 0x300
NLM_F_DUMP_INTR, NLM_F_ACK_TLVS = 0x010, 0x200
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLMSGERR_ATTR_MSG = 1
RTM_NEWLINK, IFLA_IFALIAS = 16, 20
HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port: netlink(7)
BATCH = 128  # requests in one send
BUFFER = 4 << 20  # bytes; the acks queue up while a batch is being worked off


class Encodable(t.Protocol):
    """A pyroute2 message: a dictionary with a ``header`` that ``encode`` turns into ``data``."""

    data: t.Any

    def __getitem__(self, key: str) -> t.Any: ...

    def encode(self) -> None: ...


@dataclass(frozen=True)
class Answer:
    """The kernel's answer to one request: ``error`` 0 or a positive error number, ``said`` the extended ack's text.

    ``lost``: there was no room for it in the socket's buffer, so whether the request took effect has to be looked up.
    """

    error: int = 0
    said: str = ""
    lost: bool = False


class RawMessage(dict[str, t.Any]):
    """A request without pyroute2, ready for ``Netlink.request``: ``body`` is all that comes after the header."""

    def __init__(self, kind: int, body: bytes) -> None:
        super().__init__(header={"type": kind})
        self.body = body
        self.data = b""

    def encode(self) -> None:
        """Put the header before the body."""
        header = self["header"]
        length = HEADER.size + len(self.body)
        self.data = HEADER.pack(length, header["type"], header["flags"], header["sequence_number"], 0) + self.body


def set_alias(index: int, alias: bytes) -> RawMessage:
    """Give a link an alias (IFLA_IFALIAS), up to 255 bytes of text that the kernel keeps for whoever wants it."""
    attribute = struct.pack("=HH", 4 + len(alias), IFLA_IFALIAS) + alias
    attribute += bytes(-len(attribute) % 4)
    return RawMessage(RTM_NEWLINK, struct.pack("=BxHiII", 0, 0, index, 0, 0) + attribute)


class Netlink:
    """A socket of one namespace. ``netns`` as in ``netns.path_of``. Raises KernelRefused when it cannot be opened."""

    def __init__(self, netns: str = "") -> None:
        self.netns = netns
        self.indexes: dict[str, int] = {}  # of links by name, as far as somebody has looked; see steps.index_of
        self._sequence = 0
        self.namespace: Identity = (0, 0)  # the namespace that it is a socket of, whatever the name stands for by now
        self._socket = in_netns(netns, self._open)

    def _open(self) -> socket.socket:
        found = os.stat("/proc/thread-self/ns/net")
        self.namespace = (found.st_dev, found.st_ino)
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            opened.setsockopt(SOL_NETLINK, option, 1)
        for option in (32, 33):  # SO_SNDBUFFORCE, SO_RCVBUFFORCE: socket(7)
            opened.setsockopt(socket.SOL_SOCKET, option, BUFFER)
        opened.bind((0, 0))
        return opened

    def close(self) -> None:
        """Close the socket; it keeps its namespace alive until then."""
        self._socket.close()

    def request(self, messages: t.Sequence[Encodable]) -> list[Answer]:
        """Send requests in as few system calls as fit; one answer each, in order. A refusal does not stop the rest."""
        answers: list[Answer] = []
        for start in range(0, len(messages), BATCH):
            batch = [self._encoded(message, NLM_F_REQUEST | NLM_F_ACK) for message in messages[start : start + BATCH]]
            first = self._sequence - len(batch) + 1
            try:
                self._socket.send(b"".join(batch))
            except OSError as error:  # none of them was taken
                answers.extend(Answer(error.errno or errno.EIO) for _message in batch)
                continue
            found = self._answers(range(first, first + len(batch)))
            answers.extend(found.get(number, Answer(lost=True)) for number in range(first, first + len(batch)))
        return answers

    def _answers(self, wanted: range) -> dict[int, Answer]:
        """The answers to the requests of these numbers, as far as the kernel had room for them."""
        found: dict[int, Answer] = {}
        overrun = False
        while len(found) < len(wanted):
            try:
                # The kernel works a request off while it is sent, so what is not there by then was dropped.
                received = list(self._receive(socket.MSG_DONTWAIT if overrun else 0))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    break  # what was answered is lost, and has to be looked up
                overrun = True
                continue
            for kind, flags, sequence, body in received:
                if kind == NLMSG_ERROR and sequence in wanted:
                    found[sequence] = _answer(flags, body)
        return found

    def _encoded(self, message: Encodable, flags: int) -> bytes:
        self._sequence += 1
        header = message["header"]
        header["flags"] = header.get("flags", 0) | flags
        header["sequence_number"] = self._sequence
        message.encode()
        return bytes(message.data)

    def get(self, kind: int, body: bytes) -> t.Optional[bytes]:
        """One object: the answer's body, or None when there is none such. Raises KernelRefused."""
        self._send_raw(kind, body, NLM_F_REQUEST)
        while True:
            for answer_kind, flags, sequence, answer_body in self._receive():
                if sequence != self._sequence:
                    continue
                if answer_kind != NLMSG_ERROR:
                    return answer_body
                answer = _answer(flags, answer_body)
                if answer.error in (errno.ENODEV, errno.ENOENT):
                    return None
                raise KernelRefused("ask for one object", answer.error, answer.said)

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """All objects that a request of type ``kind`` asks for: the answers' bodies, without their netlink headers.

        A dump that the kernel marks as interrupted by a change is asked for again.
        """
        for _attempt in range(10):
            self._send_raw(kind, body, NLM_F_REQUEST | NLM_F_DUMP)
            bodies: list[bytes] = []
            interrupted = done = False
            while not done:
                for answer_kind, flags, sequence, answer_body in self._receive():
                    if sequence != self._sequence:
                        continue
                    interrupted = interrupted or bool(flags & NLM_F_DUMP_INTR)
                    if answer_kind == NLMSG_DONE:
                        done = True
                    elif answer_kind == NLMSG_ERROR:
                        answer = _answer(flags, answer_body)
                        raise KernelRefused("list objects", answer.error, answer.said)
                    else:
                        bodies.append(answer_body)
            if not interrupted:
                return bodies
        raise KernelRefused("list objects", errno.EINTR, "the objects changed during each of ten tries")

    def _send_raw(self, kind: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        try:
            self._socket.send(HEADER.pack(HEADER.size + len(body), kind, flags, self._sequence, 0) + body)
        except OSError as error:
            raise KernelRefused("ask rtnetlink", error.errno or 0) from error

    def _receive(self, how: int = 0) -> t.Iterator[tuple[int, int, int, bytes]]:
        data = self._socket.recv(1 << 20, how)
        offset = 0
        while offset + HEADER.size <= len(data):
            length, kind, flags, sequence, _port = HEADER.unpack_from(data, offset)
            yield kind, flags, sequence, data[offset + HEADER.size : offset + length]
            offset += (length + 3) & ~3


def _answer(flags: int, body: bytes) -> Answer:
    (code,) = struct.unpack_from("=i", body)
    said = ""
    if flags & NLM_F_ACK_TLVS:
        # With NETLINK_CAP_ACK only the request's header stands between the code and the attributes.
        for kind, value in attributes(body, 4 + HEADER.size):
            if kind == NLMSGERR_ATTR_MSG:
                said = value.rstrip(b"\0").decode(errors="replace")
    return Answer(-code, said)


def attributes(body: bytes, offset: int) -> t.Iterator[tuple[int, bytes]]:
    """The attributes of a message from ``offset`` on: number without its flag bits, and value (netlink(7))."""
    while offset + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, body[offset + 4 : offset + length]
        offset += (length + 3) & ~3
