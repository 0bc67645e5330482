"""Settings that all tests share."""

from hypothesis import settings

# The first example of a test compiles kernels, so examples have no deadline; and
# the same examples are tried every time, so that a failure can be repeated.
settings.register_profile("wprops", deadline=None, derandomize=True)
settings.load_profile("wprops")
