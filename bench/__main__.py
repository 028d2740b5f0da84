"""``python -m bench``."""

import sys

INTERRUPTED = 130

if __name__ == "__main__":
    try:
        from bench.cli import main

        main()
    except KeyboardInterrupt:  # before a command could say what it had finished
        sys.exit(INTERRUPTED)
