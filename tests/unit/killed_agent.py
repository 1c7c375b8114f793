"""An agent on a proxy that is killed at one of its lines."""

from __future__ import annotations

# Put before the agent's first line: it ends at the n-th line of what arms, moves and remembers.
KILL_AT_A_LINE = """
import os, signal, sys
_lines, _in = 0, ("pending_switch.py", "revert_timer.py", "switch_state.py", "traffic.py")
def _trace(frame, event, _):
    global _lines
    # Of functions only: a module's own lines run while it is imported.
    if not frame.f_code.co_filename.endswith(_in) or not frame.f_code.co_flags & 1:
        return None
    _lines += event == "line"
    if _lines == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return _trace
if "KILL_AT" in os.environ:
    sys.settrace(_trace)
"""
