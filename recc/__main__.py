"""`python -m recc` is the command line."""

import sys

from recc.cli import main

sys.exit(main())
