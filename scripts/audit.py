#!/usr/bin/env python3
"""Check a log: `scripts/audit.py --db events.db [--checkpoint NOTE]… [--against URL]`."""

import os
import sys
from pathlib import Path

python = Path(__file__).resolve().parent.parent / ".venv/bin/python"
if Path(sys.prefix) != python.parent.parent and python.exists():
    os.execv(python, [str(python), *sys.argv])  # noqa: S606 - the project's own interpreter

from dispatcher.cli import main  # noqa: E402 - only the project's interpreter has it

sys.argv.insert(1, "audit")
main()
