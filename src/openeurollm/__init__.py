"""OpenEuroLLM: from web pages to a released language model, in every European language."""

import os

__version__ = "0.1.0"

# Threads that wait for one another spin for some microseconds only, not for a thousand times as long: beside one other
# busy process that made training six times slower, and not to spin at all makes it slower by half when nothing else
# runs (docs/diary.md). Read by the OpenMP library when it is loaded, so it is set before anything else.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
