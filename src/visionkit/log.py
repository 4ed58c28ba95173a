"""Our one logger, `visionkit`: silent until the application configures logging."""

from __future__ import annotations

import logging
from typing import Final

log: Final = logging.getLogger("visionkit")
log.addHandler(logging.NullHandler())
