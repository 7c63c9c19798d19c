"""Serves the file `quote` of a directory, an ordinary one: each is under a lease of the kernel's, so that who opens it waits until it has been written.

Prints `ready`, and `opened` each time somebody waits; then reads the length of what to write in decimal on a line, and that many bytes. Ends with its input.
"""

import fcntl
import os
import signal
import sys

path = os.path.join(sys.argv[1], "quote")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})


def place():
    """Puts a new file in place of the last one; its lease holds as long as the descriptor is open."""
    descriptor = os.open(path + ".next", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    os.rename(path + ".next", path)
    return descriptor


held = place()
print("ready", flush=True)
while True:
    signal.sigwaitinfo({signal.SIGIO})
    # Before this one is given out, so that no two readers share one.
    following = place()
    print("opened", flush=True)
    length = sys.stdin.buffer.readline()
    if length == b"":
        break
    os.pwrite(held, sys.stdin.buffer.read(int(length)), 0)
    os.close(held)
    held = following
