"""The package version: the build reads it here, checkpoints record it."""

__all__ = ["__version__"]

__version__ = "0.1.0"
