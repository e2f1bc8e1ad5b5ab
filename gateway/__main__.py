"""`python -m gateway` is the `andante` command."""

import sys

from gateway.cli import main

sys.exit(main())
