#!/usr/bin/env python3
"""A peer of segment.OpenBare[string](NAME, 4096, codec.UTF16(), …) that does not use this library.

    peer.py get NAME          print the string
    peer.py set NAME TEXT     replace it
    peer.py create NAME TEXT  create the mapping, print "ready", wait for a line or the end of standard input,
                              print the string again, and remove the mapping

The mapping has 4096 bytes. The string begins at offset 0, is UTF-16LE, and ends with a NUL unit. Nothing keeps
a reader from seeing half of a new string and half of an old one.
"""

import sys
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory

SIZE = 4096


def attach(name):
    """Attach to a mapping that another process owns."""
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    shm = SharedMemory(name)
    # Before 3.13 the resource tracker unlinks, when this program exits, even mappings that it only attached to.
    resource_tracker.unregister(shm._name, "shared_memory")
    return shm


def get(shm):
    data = bytes(shm.buf[:SIZE])
    end = 0
    while end < SIZE and data[end : end + 2] != b"\0\0":
        end += 2
    return data[:end].decode("utf-16-le", "replace")


def encode(text):
    """Return the content of a mapping that holds text. The bytes after the string are zero."""
    data = text.encode("utf-16-le", "replace") + b"\0\0"
    if "\0" in text or len(data) > SIZE:
        sys.exit(f"peer.py: the text must have at most {SIZE // 2 - 1} UTF-16 units and no NUL")
    return data.ljust(SIZE, b"\0")


def main():
    sys.stdout.reconfigure(encoding="utf-8")
    command, arguments = (sys.argv + [""])[1], sys.argv[2:]
    if command == "get" and len(arguments) == 1:
        shm = attach(arguments[0])
        print(get(shm))
    elif command == "set" and len(arguments) == 2:
        data = encode(arguments[1])
        shm = attach(arguments[0])
        shm.buf[:SIZE] = data
    elif command == "create" and len(arguments) == 2:
        data = encode(arguments[1])
        shm = SharedMemory(arguments[0], create=True, size=SIZE)
        try:
            shm.buf[:SIZE] = data
            print("ready", flush=True)
            sys.stdin.readline()
            print(get(shm))
        finally:
            shm.unlink()
    else:
        sys.exit("usage: peer.py get NAME | set NAME TEXT | create NAME TEXT")
    shm.close()


if __name__ == "__main__":
    main()
