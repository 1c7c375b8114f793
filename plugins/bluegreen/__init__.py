"""Blue-green deployment of Perl (PSGI) applications to DigitalOcean droplets behind HAProxy."""

import sys
from pathlib import Path

# `agent` is what runs on the machines: its protocol is defined there, once, and imported here.
_INCLUDE = str(Path(__file__).resolve().parents[2] / "include")
if _INCLUDE not in sys.path:
    sys.path.append(_INCLUDE)
