"""isod brokers VFIO, IOMMUFD and vDPA devices between root and unprivileged programs."""

__version__ = "0.1.0"
