"""``python -m vlm_studio``: see vlm_studio/cli.py."""

import sys

from vlm_studio.cli import main

if __name__ == "__main__":
    sys.exit(main())
