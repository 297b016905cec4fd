"""What starts the agent on a host: it is sent on the command line, so it is short.

Its words: the root, the name of the agent's file, that file's size, a greeting. A file that is missing is asked for on
standard output and read from standard input; where it is there, nothing is asked and nothing waits.
"""

import os
import sys

root, name, size, greeting = sys.argv[1:]
folder = os.path.join(os.path.abspath(os.path.expanduser(root)), "agent")
path = os.path.join(folder, name)
if sys.version_info < (3, 8):
    sys.exit("mlmake needs Python 3.8 or newer here, and python3 is %d.%d" % sys.version_info[:2])
if not os.path.exists(path):
    os.makedirs(folder, mode=0o700, exist_ok=True)
    os.write(1, (greeting + " send\n").encode())
    content = b""
    while len(content) < int(size):
        block = os.read(0, 65536)
        if not block:
            sys.exit("the agent did not arrive whole")
        content += block
    with open(path + ".%d" % os.getpid(), "wb") as file:
        file.write(content)
    os.rename(file.name, path)
os.execv(sys.executable, [sys.executable, "-E", "-s", path, "serve", root, greeting])
