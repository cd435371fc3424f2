"""Settings for all tests."""

import hypothesis

# Compilation makes the first example of a shape slow.
hypothesis.settings.register_profile("sparl", deadline=None, max_examples=60)
hypothesis.settings.load_profile("sparl")
