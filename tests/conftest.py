"""For all tests."""

from hypothesis import settings

settings.register_profile("drover", deadline=None)  # how fast this machine is at the moment is nobody's bug
settings.load_profile("drover")
