"""An event-sourced dispatcher for a farm of transcoding engines."""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("transcoding-dispatcher")
