"""The exceptions of the project, each of which names a remedy in its message."""


class WpropsError(ValueError):
    """Base of every error that a user can mend."""


class ConfigError(WpropsError):
    """A catalogue, a configuration file or a command-line value is wrong."""


class InputError(WpropsError):
    """An event file lacks something or holds something that cannot be used."""


class TemplateError(WpropsError):
    """A template file, or what should become one, does not fit together."""


class FitError(WpropsError):
    """The fit has no valid result; the message names the reason."""
