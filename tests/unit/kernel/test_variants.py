"""Variant drivers, by their aliases."""

from __future__ import annotations

from pathlib import Path

from isod.kernel.linux.variants import is_vfio_driver, preferred_driver, vfio_drivers

_ALIASES = """# Aliases extracted from modules themselves.
alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core
alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci
alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci
alias vfio_pci:v000019E5d0000A251sv*sd*bc*sc*i* hisi_acc_vfio_pci
"""
_MLX5 = "pci:v000015B3d0000101Esv000015B3sd00000001bc02sc00i00"
_HISI = "pci:v000019E5d0000A251sv00000000sd00000000bc02sc00i00"


def test_vfio_drivers_by_name(tmp_path: Path) -> None:
    names = {"vfio-pci": True, "mlx5_vfio_pci": True, "hisi-acc-vfio-pci": True}
    names |= {"pci-stub": False, "nvme": False, "vfio-pci-core": False}
    for name in names:
        (tmp_path / "sys/bus/pci/drivers" / name).mkdir(parents=True)
    assert {name: is_vfio_driver(name) for name in names} == names
    assert vfio_drivers(tmp_path) == ("hisi-acc-vfio-pci", "mlx5_vfio_pci", "vfio-pci")
    assert vfio_drivers(tmp_path / "nowhere") == ()


def test_a_loaded_variant_is_preferred(tmp_path: Path) -> None:
    folder = tmp_path / "lib/modules/7.2"
    folder.mkdir(parents=True)
    assert preferred_driver(tmp_path, "7.2", _MLX5) == "vfio-pci"
    (folder / "modules.alias").write_text(_ALIASES)
    assert preferred_driver(tmp_path, "7.2", _MLX5) == "vfio-pci"
    (tmp_path / "sys/module/mlx5_vfio_pci/drivers/pci:mlx5_vfio_pci").mkdir(parents=True)
    (tmp_path / "sys/module/hisi_acc_vfio_pci/drivers/pci:hisi-acc-vfio-pci").mkdir(parents=True)
    assert preferred_driver(tmp_path, "7.2", _MLX5) == "mlx5_vfio_pci"
    assert preferred_driver(tmp_path, "7.2", _HISI) == "hisi-acc-vfio-pci"
    assert (
        preferred_driver(tmp_path, "7.2", "pci:v00008086d000010D3sv0sd0bc02sc00i00") == "vfio-pci"
    )
