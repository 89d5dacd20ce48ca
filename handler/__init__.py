"""What ships to AWS Lambda: a Kafka batch in, one exactly-once Delta append out."""

import os

__version__ = "0.1.0"
__build__ = __version__
"""The version and a digest of what the artifact was made from: `silt package` writes it here."""

# Before pyarrow is loaded: its own allocators keep what a batch has freed, 30 MB at the peak of the
# largest event, and the system's costs no CPU more (decision 0021).
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
