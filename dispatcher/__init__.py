"""An event-sourced dispatcher for a farm of transcoding engines."""

__all__ = ["__version__"]

__version__ = "0.2.0"
