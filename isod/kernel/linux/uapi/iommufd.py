"""IOMMUFD (include/uapi/linux/iommufd.h). Names are the header's own."""

from __future__ import annotations

from ctypes import Structure, c_uint16, c_uint32, c_uint64

from .number import io

IOMMU_DESTROY = io(";", 0x80)
IOMMU_IOAS_ALLOC = io(";", 0x81)
IOMMU_IOAS_MAP = io(";", 0x85)
IOMMU_IOAS_UNMAP = io(";", 0x86)
IOMMU_OPTION = io(";", 0x87)

IOMMU_OPTION_RLIMIT_MODE = 0
IOMMU_OPTION_OP_SET = 0
IOMMU_OPTION_OP_GET = 1
IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0
IOMMU_IOAS_MAP_WRITEABLE = 1 << 1
IOMMU_IOAS_MAP_READABLE = 1 << 2


class iommu_destroy(Structure):  # noqa: N801 (the header's names, here and below)
    _fields_ = [("size", c_uint32), ("id", c_uint32)]


class iommu_ioas_alloc(Structure):  # noqa: N801
    _fields_ = [("size", c_uint32), ("flags", c_uint32), ("out_ioas_id", c_uint32)]


class iommu_ioas_map(Structure):  # noqa: N801
    _fields_ = [
        ("size", c_uint32),
        ("flags", c_uint32),
        ("ioas_id", c_uint32),
        ("__reserved", c_uint32),
        ("user_va", c_uint64),
        ("length", c_uint64),
        ("iova", c_uint64),
    ]


class iommu_ioas_unmap(Structure):  # noqa: N801
    _fields_ = [
        ("size", c_uint32),
        ("ioas_id", c_uint32),
        ("iova", c_uint64),
        ("length", c_uint64),
    ]


class iommu_option(Structure):  # noqa: N801
    _fields_ = [
        ("size", c_uint32),
        ("option_id", c_uint32),
        ("op", c_uint16),
        ("__reserved", c_uint16),
        ("object_id", c_uint32),
        ("val64", c_uint64),
    ]
