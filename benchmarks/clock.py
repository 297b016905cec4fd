"""Times one command; runs as a small process of its own, as a child's peak memory starts at that of its parent.

`python -I -S clock.py FD COMMAND …` writes `wall cpu memory code` to FD: seconds, seconds of the command and of all
that it waited for, the peak bytes of the largest of these processes, and the exit status.
"""

import os
import signal
import sys
import time


def main() -> None:
    """Run the command and write one line."""
    report, command = int(sys.argv[1]), sys.argv[2:]
    os.set_inheritable(report, False)
    # A stop goes to the whole group; the clock stays until the command has ended.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    defaults = (signal.SIGTERM, signal.SIGPIPE)
    start = time.perf_counter()
    child = os.posix_spawn(command[0], command, os.environ, setsigdef=defaults)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - start
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    cpu = usage.ru_utime + usage.ru_stime
    os.write(report, f"{wall} {cpu} {memory} {os.waitstatus_to_exitcode(status)}\n".encode())


main()
