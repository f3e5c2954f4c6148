from __future__ import annotations

import sys
from pathlib import Path

# Spawned and forked-off processes import toy_training by name, whatever folder the tests are started from.
sys.path.insert(0, str(Path(__file__).parent))
