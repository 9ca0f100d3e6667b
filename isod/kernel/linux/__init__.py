"""The real kernel, behind the port."""

from .kernel import LinuxKernel

__all__ = ["LinuxKernel"]
