"""Runs a command in a terminal of its own and types a line at each of its prompts, once the
terminal has stopped echoing. Prints what the terminal showed, and ends as the command did.

    typed.py LINE... -- COMMAND ARGUMENT...
"""

import os
import pty
import select
import signal
import sys
import termios
import time

split = sys.argv.index("--")
lines, command = sys.argv[1:split], sys.argv[split + 1 :]
child, terminal = pty.fork()
if child == 0:
    os.execv(command[0], command)

shown, typed_at = b"", 0
until = time.monotonic() + 300
while True:
    if time.monotonic() > until:
        os.kill(child, signal.SIGKILL)
        break
    if select.select([terminal], [], [], 0.01)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # Linux says so that the command has closed its terminal.
            break
        if not part:
            break
        shown += part
    hidden = not termios.tcgetattr(terminal)[3] & termios.ECHO
    if lines and hidden and len(shown) > typed_at and shown.endswith(b": "):
        typed_at = len(shown)
        os.write(terminal, lines.pop(0).encode() + b"\n")

status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
sys.stdout.buffer.write(shown)
sys.stdout.flush()
sys.exit(status if status >= 0 else f"ended by signal {-status}; not typed: {lines}")
