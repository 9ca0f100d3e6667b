"""VFIO (include/uapi/linux/vfio.h): containers, groups, devices. Names are the header's own."""

from __future__ import annotations

from ctypes import Structure, Union, c_int32, c_uint8, c_uint16, c_uint32, c_uint64

from .number import io

VFIO_API_VERSION = 0
VFIO_TYPE1_IOMMU = 1
VFIO_TYPE1v2_IOMMU = 3
VFIO_NOIOMMU_IOMMU = 8

VFIO_GET_API_VERSION = io(";", 100)
VFIO_CHECK_EXTENSION = io(";", 101)
VFIO_SET_IOMMU = io(";", 102)
VFIO_GROUP_GET_STATUS = io(";", 103)
VFIO_GROUP_SET_CONTAINER = io(";", 104)
VFIO_GROUP_UNSET_CONTAINER = io(";", 105)
VFIO_GROUP_GET_DEVICE_FD = io(";", 106)
VFIO_DEVICE_GET_INFO = io(";", 107)
VFIO_DEVICE_GET_REGION_INFO = io(";", 108)
VFIO_DEVICE_GET_IRQ_INFO = io(";", 109)
VFIO_DEVICE_SET_IRQS = io(";", 110)
VFIO_DEVICE_RESET = io(";", 111)
VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = io(";", 112)
VFIO_DEVICE_PCI_HOT_RESET = io(";", 113)
VFIO_DEVICE_BIND_IOMMUFD = io(";", 118)
VFIO_DEVICE_ATTACH_IOMMUFD_PT = io(";", 119)
VFIO_DEVICE_DETACH_IOMMUFD_PT = io(";", 120)
VFIO_IOMMU_GET_INFO = io(";", 112)
VFIO_IOMMU_MAP_DMA = io(";", 113)
VFIO_IOMMU_UNMAP_DMA = io(";", 114)

VFIO_GROUP_FLAGS_VIABLE = 1 << 0
VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1
VFIO_DEVICE_FLAGS_RESET = 1 << 0
VFIO_DEVICE_FLAGS_PCI = 1 << 1
VFIO_REGION_INFO_FLAG_READ = 1 << 0
VFIO_REGION_INFO_FLAG_WRITE = 1 << 1
VFIO_PCI_CONFIG_REGION_INDEX = 7
VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1 << 0
VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1 << 1
VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0
VFIO_DMA_MAP_FLAG_READ = 1 << 0
VFIO_DMA_MAP_FLAG_WRITE = 1 << 1


class vfio_group_status(Structure):  # noqa: N801 (the header's names, here and below)
    _fields_ = [("argsz", c_uint32), ("flags", c_uint32)]


class vfio_device_info(Structure):  # noqa: N801
    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("num_regions", c_uint32),
        ("num_irqs", c_uint32),
        ("cap_offset", c_uint32),
        ("pad", c_uint32),
    ]


class vfio_region_info(Structure):  # noqa: N801
    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("index", c_uint32),
        ("cap_offset", c_uint32),
        ("size", c_uint64),
        ("offset", c_uint64),
    ]


class _device_number(Union):  # noqa: N801
    _fields_ = [("group_id", c_uint32), ("devid", c_uint32)]


class vfio_pci_dependent_device(Structure):  # noqa: N801
    """``devid`` is 0 for owned and -1 (all bits) for not owned, when DEV_ID is set."""

    _anonymous_ = ("number",)
    _fields_ = [
        ("number", _device_number),
        ("segment", c_uint16),
        ("bus", c_uint8),
        ("devfn", c_uint8),
    ]


class vfio_pci_hot_reset_info(Structure):  # noqa: N801
    """The head; ``count`` times ``vfio_pci_dependent_device`` follow."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("count", c_uint32)]


class vfio_pci_hot_reset(Structure):  # noqa: N801
    """The head; ``count`` group fds (s32) follow, none for a cdev."""

    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("count", c_uint32)]


class vfio_device_bind_iommufd(Structure):  # noqa: N801
    """``token_uuid_ptr`` came with about 6.17: with ``argsz`` 16 every kernel takes it."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iommufd", c_int32),
        ("out_devid", c_uint32),
        ("token_uuid_ptr", c_uint64),
    ]


class vfio_device_attach_iommufd_pt(Structure):  # noqa: N801
    """``pasid`` came with about 6.15: ``argsz`` 12 without it."""

    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("pt_id", c_uint32),
        ("pasid", c_uint32),
    ]


class vfio_device_detach_iommufd_pt(Structure):  # noqa: N801
    _fields_ = [("argsz", c_uint32), ("flags", c_uint32), ("pasid", c_uint32)]


class vfio_iommu_type1_dma_map(Structure):  # noqa: N801
    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("vaddr", c_uint64),
        ("iova", c_uint64),
        ("size", c_uint64),
    ]


class vfio_iommu_type1_dma_unmap(Structure):  # noqa: N801
    _fields_ = [
        ("argsz", c_uint32),
        ("flags", c_uint32),
        ("iova", c_uint64),
        ("size", c_uint64),
    ]
