"""OpenEuroLLM: from web pages to a released language model, in every European language."""

import os

__version__ = "0.1.0"

# Threads that wait for one another must not spin: beside one other busy process that made training two to four times
# slower (docs/diary.md). Read by the OpenMP library when it is loaded, so it is set before anything else.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
