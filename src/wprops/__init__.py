"""W boson production and mass from NanoAOD, by template fits."""

from importlib.metadata import version

__version__ = version("wprops")
