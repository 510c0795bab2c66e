"""For all rings: in CI, Hypothesis tries the same examples each time, so that a run says something about
the change and nothing about luck; elsewhere it goes on looking for new ones."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
