"""What holds for all tests: no example is refused for being slow, since the machine may be busy."""

from hypothesis import settings

settings.register_profile("filament", deadline=None)
settings.load_profile("filament")
