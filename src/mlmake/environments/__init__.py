"""The software that steps run in."""
