"""What starts the agent on a host: it is sent on the command line, so it is short.

Its words: the root, the name of the agent's file, that file's size, a greeting. A file that is missing, or not whole,
is asked for on standard output and read from standard input; where it is there, nothing is asked and nothing waits.
"""

import os
import sys

root, name, size, greeting = sys.argv[1:]
if sys.version_info < (3, 8):
    sys.exit("mlmake needs Python 3.8 or newer here, and python3 is %d.%d" % sys.version_info[:2])
top = os.path.abspath(os.path.expanduser(root))
folder = os.path.join(top, "agent")
path = os.path.join(folder, name)
new = path + ".%d" % os.getpid()
try:
    for each in (top, folder):
        os.makedirs(each, mode=0o700, exist_ok=True)
    if not os.path.exists(path) or os.path.getsize(path) != int(size):
        os.write(1, ("\n" + greeting + " send\n").encode())
        content = b""
        while len(content) < int(size):
            block = os.read(0, 65536)
            if not block:
                sys.exit("the agent did not arrive whole")
            content += block
        with open(new, "wb") as file:
            file.write(content)
        os.rename(new, path)
except OSError as error:
    if os.path.exists(new):
        os.unlink(new)
    sys.exit("cannot write to %s: %s" % (top, error.strerror))
os.execv(sys.executable, [sys.executable, "-E", "-s", "-X", "utf8", path, "serve", top, greeting])
