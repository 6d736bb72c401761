#!/usr/bin/env python3
"""Read the current value of a sharedseg segment.

    read_segment.py [--dir DIR] [-n COUNT] NAME

It prints a line "CODEC<tab>VERSION<tab>VALUE" for each of COUNT reads (default 1). VALUE is a JSON string for the
codecs string/utf-8 and string/utf-16le, the document for json, a JSON value for fixed/…, and hexadecimal for all
others.

It is written from docs/format.md and needs only Python 3.9 on Linux. Copy the parts that you need: Segment
implements the format, and decode the codecs. The file is opened and mapped read-only.
"""

import argparse
import fcntl
import json
import mmap
import os
import platform
import re
import stat
import struct
import sys
import time

MAGIC = b"sharedsg"
FORMAT = 2
ORDER = 0x0A0B0C0D
KIND_SEGMENT = 1
FLAG_PERSIST = 1
MEMBERS = 1024
BEGIN, END = 192, 200
MINIMUM = 4352  # the smallest size, in bytes, of a ready mapping of any format
TEXTS = 8512  # the smallest size of one of this format, and the offset of the codec ID and the type name
MAX_TEXT = 1 << 20
SLOT_HEADER = 64
LENGTH = 16  # offset in a slot's header, after its version and the previous version

REGISTRY = 1 << 62
READERS = REGISTRY + 1  # followed by the MEMBERS bytes of the writers
QUEUE = REGISTRY + (1 << 32)  # the tickets of the processes that wait for the registry
TICKETS = 1 << 61

F_OFD_GETLK = getattr(fcntl, "F_OFD_GETLK", 36)
F_OFD_SETLK = getattr(fcntl, "F_OFD_SETLK", 37)
FLOCK = "hhqqi4x"  # struct flock: l_type, l_whence, l_start, l_len, l_pid


class Unusable(Exception):
    """The name does not refer to a live segment, or this program cannot read it."""


def fence_of_this_machine():
    """Return a function that orders earlier loads before later ones."""
    if platform.machine() in ("x86_64", "AMD64", "i386", "i686", "s390x"):
        return lambda: None  # these machines keep loads in order
    import ctypes

    try:
        fence = ctypes.CDLL("libatomic.so.1").atomic_thread_fence
    except (OSError, AttributeError) as e:
        raise Unusable(f"this machine needs a memory barrier, which Python lacks: install libatomic ({e})") from e
    return lambda: fence(5)  # memory_order_seq_cst


def round_up(n, to):
    return (n + to - 1) // to * to


class Segment:
    """An attached reader. While it is open, the segment is not removed."""

    def __init__(self, name, directory="/dev/shm"):
        if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}", name):
            raise Unusable(f"{name!r} is not a valid name")
        self.path = os.path.join(directory, name)
        self.fence = fence_of_this_machine()
        self.memory = self.words = None
        self.fd = -1
        try:
            self._open()
            self._attach()
            self._lock(fcntl.F_UNLCK, REGISTRY)
        except BaseException:
            self.close()
            raise

    def _open(self):
        """Open the file, take its registry lock, and make sure that the path still refers to it."""
        while True:
            try:
                self.fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as e:
                raise Unusable(f"{self.path}: {e.strerror}") from e
            mine = os.fstat(self.fd)
            if not stat.S_ISREG(mine.st_mode):
                raise Unusable(f"{self.path} is not a regular file")
            self._lock_registry()
            try:
                if os.path.samestat(mine, os.lstat(self.path)):
                    return
            except FileNotFoundError:
                pass
            os.close(self.fd)
            self.fd = -1

    def _lock_registry(self):
        """Take the registry lock, in the order of the tickets."""
        for look in range(7):
            if not self._locked(QUEUE, TICKETS) and self._lock(fcntl.F_RDLCK, REGISTRY):
                return
            time.sleep(10e-6 * 2**look)
        ticket = 1
        while higher := self._locked(QUEUE + ticket, TICKETS - ticket):
            ticket = higher - QUEUE + 1
        self._lock(fcntl.F_RDLCK, QUEUE + ticket)
        passed = idle = 0
        for _ in range(5000):
            if passed + 1 == ticket or not self._locked(QUEUE + passed + 1, ticket - passed - 1):
                if self._lock(fcntl.F_RDLCK, REGISTRY):
                    self._lock(fcntl.F_UNLCK, QUEUE + ticket)
                    return
            elif self._locked(REGISTRY, 1):
                idle = 0
            else:
                idle += 1
                if idle == 20:  # the process with a lower ticket is stopped
                    passed = ticket - 1
            time.sleep(1e-3)
        raise Unusable(f"another process has been opening or closing {self.path} for too long")

    def _attach(self):
        """Check the file's state and header, take the readers' lock and map the file."""
        size = os.fstat(self.fd).st_size
        head = os.pread(self.fd, TEXTS + 2 * MAX_TEXT, 0)
        if head and not head.startswith(MAGIC):
            raise Unusable(f"{self.path} is not a segment")
        if len(head) < MINIMUM:
            raise Unusable(f"{self.path} is not initialised")
        ready, order, _, flags, kind, slots = struct.unpack_from("=6I", head, 8)
        whole, capacity, stride, slot_area, wait_page = struct.unpack_from("=5Q", head, 32)
        page, codec_len, type_len, members = struct.unpack_from("=4I", head, 72)
        if ready == 0 or ready == FORMAT and len(head) < TEXTS:
            raise Unusable(f"{self.path} is not initialised")
        if not flags & FLAG_PERSIST and not self._anybody_attached():
            raise Unusable(f"{self.path} was left by processes that died")
        if ready != FORMAT:
            raise Unusable(f"{self.path} was written by format {ready}, this program knows format {FORMAT}")
        if order != ORDER:
            raise Unusable(f"{self.path} has another byte order")
        if kind != KIND_SEGMENT:
            raise Unusable(f"{self.path} is of kind {kind}, not a segment")
        texts = TEXTS + codec_len + type_len
        sound = (
            members == MEMBERS
            and 2 <= slots <= 65536
            and 1 << 10 <= page <= 1 << 24
            and page & (page - 1) == 0
            and codec_len <= MAX_TEXT
            and type_len <= MAX_TEXT
            and texts <= len(head)
            and wait_page == round_up(texts, page)
            and slot_area == wait_page + page + (round_up(8 * MEMBERS, page) if slots <= 64 else 0)
            and stride == SLOT_HEADER + round_up(capacity, 64)
            and whole == size == round_up(slot_area + slots * stride, page)
        )
        if not sound:
            raise Unusable(f"{self.path} has a corrupt header")
        self.slots, self.capacity, self.stride, self.slot_area = slots, capacity, stride, slot_area
        self.codec = head[TEXTS : TEXTS + codec_len].decode("utf-8", "replace")
        self.type = head[TEXTS + codec_len : texts].decode("utf-8", "replace")
        if not self._lock(fcntl.F_RDLCK, READERS):
            raise Unusable(f"{self.path}: the readers' lock is held exclusively")
        self.memory = mmap.mmap(self.fd, size, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
        # An item of this view is loaded atomically. struct.unpack("<Q", …) would load it byte by byte.
        self.words = memoryview(self.memory).cast("Q")

    def _lock(self, kind, position):
        """Lock or unlock a byte. Return False if another handle's lock prevents that."""
        try:
            fcntl.fcntl(self.fd, F_OFD_SETLK, struct.pack(FLOCK, kind, os.SEEK_SET, position, 1, 0))
        except (BlockingIOError, PermissionError):  # EAGAIN, EACCES
            return False
        return True

    def _locked(self, position, length):
        """Return the position of a byte in this range that another handle has locked, or 0."""
        ask = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, position, length, 0)
        kind, _, start, _, _ = struct.unpack(FLOCK, fcntl.fcntl(self.fd, F_OFD_GETLK, ask))
        return 0 if kind == fcntl.F_UNLCK else start

    def _anybody_attached(self):
        return self._locked(READERS, 1 + MEMBERS) != 0

    def version(self):
        """Return the number of the current version, 0 if nothing was stored yet."""
        return self.words[END // 8]

    def read(self, patience=10.0):
        """Return (version, encoding) of the current value. The encoding is None for version 0.

        A writer that stores faster than we copy can disturb us repeatedly. Give up after patience seconds.
        """
        deadline = time.monotonic() + patience
        attempt = 0
        while True:
            version = self.words[END // 8]
            if version == 0:
                return 0, None
            start = self.slot_area + version % self.slots * self.stride
            length = self.words[(start + LENGTH) // 8]
            value = self.memory[start + SLOT_HEADER : start + SLOT_HEADER + min(length, self.capacity)]
            self.fence()
            begin = self.words[BEGIN // 8]
            if (begin - version) % 2**64 < self.slots or self.words[END // 8] == version:
                if length > self.capacity:
                    raise Unusable(f"{self.path} is corrupt: a value of {length} bytes exceeds the capacity {self.capacity}")
                return version, value
            if time.monotonic() > deadline:
                raise Unusable(f"{self.path}: writers stored faster than it can be read")
            attempt += 1
            if attempt > 8:
                time.sleep(min(1e-6 * 2 ** (attempt - 8), 1e-3))

    def close(self):
        """Detach. Closing the descriptor releases the readers' lock.

        Even if this is the last handle, it leaves the file to the next process that opens the name, because its
        descriptor is read-only.
        """
        if self.words is not None:
            self.words.release()
            self.memory.close()
            self.words = self.memory = None
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def decode(codec, value):
    """Decode a value by the codec with that ID. Return an object for json.dumps, or a string of hexadecimal digits."""
    if codec == "string/utf-8":
        return value.decode("utf-8", "replace")
    if codec == "string/utf-16le":
        return decode_utf16(value)
    if codec == "json":
        return json.loads(value)
    if codec.startswith("fixed/"):
        return Fixed(codec).decode(value)
    return value.hex()


def decode_utf16(value):
    """Decode UTF-16LE up to the first NUL unit."""
    end = 0
    while end + 2 <= len(value) and value[end : end + 2] != b"\0\0":
        end += 2
    return value[:end].decode("utf-16-le", "replace")


class Fixed:
    """The codec for numbers, arrays and structs, built from its ID, such as fixed/le:{A uint64@0;B [4]uint8@8}#16"""

    NUMBERS = {
        "bool": "B", "int8": "b", "int16": "h", "int32": "i", "int64": "q", "uint8": "B", "uint16": "H",
        "uint32": "I", "uint64": "Q", "float32": "f", "float64": "d", "complex64": "2f", "complex128": "2d",
    }

    def __init__(self, codec):
        m = re.match(r"fixed/(le|be):", codec)
        if not m:
            raise Unusable(f"codec ID {codec!r} is malformed")
        self.order = "<" if m[1] == "le" else ">"
        self.codec, self.at = codec, m.end()
        self.size, self.get = self._type()
        if self.at != len(codec):
            self._take(r"$")

    def decode(self, value):
        if len(value) != self.size:
            raise Unusable(f"the value has {len(value)} bytes, and {self.codec} has {self.size}")
        return self.get(value, 0)

    def _take(self, pattern):
        m = re.compile(pattern).match(self.codec, self.at)
        if not m:
            raise Unusable(f"codec ID {self.codec!r} is malformed at character {self.at}")
        self.at = m.end()
        return m[1] if m.groups() else m[0]

    def _type(self):
        """Parse a type. Return its size, and a function of (bytes, offset) that returns the value at the offset."""
        if self.codec.startswith("[", self.at):
            n = int(self._take(r"\[(\d+)\]"))
            size, get = self._type()
            return n * size, lambda b, at: [get(b, at + i * size) for i in range(n)]
        if self.codec.startswith("{", self.at):
            return self._struct()
        kind = self._take("|".join(sorted(self.NUMBERS, key=len, reverse=True)))
        code = self.order + self.NUMBERS[kind]

        def get(b, at):
            parts = struct.unpack_from(code, b, at)
            if kind == "bool":
                if parts[0] > 1:
                    raise Unusable(f"malformed value: the bool at byte {at} is {parts[0]}")
                return parts[0] == 1
            return parts[0] if len(parts) == 1 else list(parts)

        return struct.calcsize(code), get

    def _struct(self):
        self._take(r"\{")
        fields = []
        while not self.codec.startswith("}", self.at):
            if fields:
                self._take(";")
            name = self._take(r"(\w+) ")
            size, get = self._type()
            fields.append((name, int(self._take(r"@(\d+)")), size, get))
        size = int(self._take(r"\}#(\d+)"))
        if any(at + n > size for _, at, n, _ in fields):
            raise Unusable(f"codec ID {self.codec!r} has a field beyond its struct")
        return size, lambda b, at: {name: get(b, at + off) for name, off, _, get in fields if name != "_"}


def main():
    p = argparse.ArgumentParser(description="Read the current value of a sharedseg segment.")
    p.add_argument("--dir", default="/dev/shm", help="the directory of its file (%(default)s)")
    p.add_argument("-n", type=int, default=1, metavar="COUNT", help="how often to read (%(default)s)")
    p.add_argument("name")
    args = p.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")
    try:
        with Segment(args.name, args.dir) as s:
            for _ in range(args.n):
                version, value = s.read()
                if version == 0:
                    text = ""
                else:
                    text = decode(s.codec, value)
                    if s.codec.startswith(("string/", "json", "fixed/")):
                        text = json.dumps(text, ensure_ascii=False)
                print(s.codec, version, text, sep="\t")
    except (Unusable, ValueError) as e:  # ValueError: json.loads
        sys.exit(f"read_segment.py: {e}")


if __name__ == "__main__":
    main()
