"""Confine this process, then become another program. Only POSIX; on Linux there is more to it.

    python -I -S confined.py [NAME=VALUE...] -- PROGRAM [ARGUMENT...]
    python -I -S confined.py      # print Landlock's version, and 1 if a network can be left

    nice=N             lower the priority
    parent=PID         the process with which this one dies
    limit=NAME:VALUE   a resource limit
    landlock=VERSION   restrict files to `read=PATH` and `write=PATH`, and TCP to `port=PORT`
    network=own        leave all networks

It starts in the place of each ffmpeg, so it imports little, and nothing of the project.

Laws:
- What is asked for and can't be had is an error (exit status 126): the caller has asked before
  what there is.
- Nothing of this is undone later: the program inherits all of it.
"""

import ctypes
import os
import stat
import struct
import sys

FAILED = 126
NOT_FOUND = 127
NET_SINCE = 4
"""The version of Landlock that restricts TCP."""

# From <linux/landlock.h>; the numbers of its system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH, _NET_PORT = 1, 2
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_READING = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_KNOWN_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights to files each version knows; later ones know 16."""
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1
_SCOPES_SINCE = 6

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIGKILL = 9  # the module `signal` would double what this imports


def main(arguments: list[str]) -> int:
    """Confine, and become the program; returns only if that fails."""
    if not arguments:
        sys.stdout.write(" ".join(map(str, offers())))
        return 0
    end = arguments.index("--")
    command = arguments[end + 1 :]
    try:
        confine([text.partition("=")[::2] for text in arguments[:end]])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"can't be confined: {error}\n")
        return FAILED
    try:
        os.execv(command[0], command)  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.stderr.write(f"can't be started: {error}\n")
        return NOT_FOUND


def offers() -> tuple[int, int]:
    """Return Landlock's version, 0 without it, and 1 if a process can leave the network."""
    if sys.platform != "linux":
        return 0, 0
    libc = ctypes.CDLL(None, use_errno=True)
    version = max(0, libc.syscall(_CREATE_RULESET, None, 0, 1))
    return version, int(_leave_network(libc))


def confine(asked: list[tuple[str, str]]) -> None:
    """Confine this process."""

    def all_of(name: str) -> list[str]:
        return [value for asked_for, value in asked if asked_for == name]

    for value in all_of("nice"):
        os.nice(int(value))
    for value in all_of("limit"):
        _limit(*value.split(":"))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if str(os.getppid()) not in all_of("parent"):
        raise OSError("the engine has ended")
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _fault("PR_SET_NO_NEW_PRIVS")
    if all_of("network") and not _leave_network(libc):
        raise _fault("unshare")
    for version in all_of("landlock"):
        ports = [int(port) for port in all_of("port")]
        _restrict(libc, int(version), all_of("read"), all_of("write"), ports)


def _limit(name: str, value: str) -> None:
    import resource  # noqa: PLC0415 - not on every system on which this can be imported

    which = getattr(resource, f"RLIMIT_{name}")
    _, hard = resource.getrlimit(which)
    lower = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
    try:
        resource.setrlimit(which, (lower, lower))
    except (OSError, ValueError):
        if sys.platform == "linux":  # others take some limits by halves
            raise


def _leave_network(libc: ctypes.CDLL) -> bool:
    """Move to a network without interfaces; root must stay in its user namespace to be root."""
    if libc.unshare(_CLONE_NEWNET) == 0:
        return True
    return os.geteuid() != 0 and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0


def _restrict(
    libc: ctypes.CDLL, version: int, reads: list[str], writes: list[str], ports: list[int]
) -> None:
    rights = (1 << _KNOWN_RIGHTS.get(version, 16)) - 1
    handled = struct.pack("Q", rights)
    if version >= NET_SINCE:
        handled += struct.pack("Q", _BIND_TCP | _CONNECT_TCP)
    if version >= _SCOPES_SINCE:
        handled += struct.pack("Q", _ABSTRACT_SOCKETS | _SIGNALS)
    ruleset = libc.syscall(_CREATE_RULESET, handled, len(handled), 0)
    if ruleset < 0:
        raise _fault("landlock_create_ruleset")
    for paths, allowed in ((reads, _READING), (writes, rights & ~_EXECUTE)):
        for path in paths:
            _allow(libc, ruleset, path, allowed & rights)
    for port in ports if version >= NET_SINCE else ():
        rule = struct.pack("=QQ", _CONNECT_TCP, port)
        if libc.syscall(_ADD_RULE, ruleset, _NET_PORT, rule, 0):
            raise _fault("landlock_add_rule")
    if libc.syscall(_RESTRICT_SELF, ruleset, 0):
        raise _fault("landlock_restrict_self")
    os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        there = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no rule
    try:
        if not stat.S_ISDIR(os.fstat(there).st_mode):
            rights &= _OF_FILES
        rule = struct.pack("=Qi", rights, there)
        if libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0):
            raise _fault(f"landlock_add_rule {path}")
    finally:
        os.close(there)


def _fault(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
