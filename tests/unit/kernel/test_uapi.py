"""Every number and layout, as a C compiler sees it in the kernel's own headers."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from isod.kernel.linux.uapi import iommufd, vfio

_MODULES = {"linux/vfio.h": vfio, "linux/iommufd.h": iommufd}
# Our name for an anonymous union is not C's.
_ANONYMOUS = "number"


def _facts(module: ModuleType) -> Iterator[tuple[str, int]]:
    """C expressions and the values that we have for them."""
    for name, value in vars(module).items():
        if isinstance(value, int) and name.isupper() | name.startswith(("VFIO_", "IOMMU_")):
            yield f"(long long)({name})", value
        elif isinstance(value, type) and issubclass(value, ctypes.Structure):
            if name == "Structure":
                continue
            yield f"(long long)sizeof(struct {name})", ctypes.sizeof(value)
            for field in value._fields_:
                if field[0] == _ANONYMOUS:
                    continue
                offset = getattr(value, field[0]).offset
                yield f"(long long)offsetof(struct {name}, {field[0]})", offset
                size = f"(long long)sizeof(((struct {name} *)0)->{field[0]})"
                yield size, ctypes.sizeof(field[1])


@pytest.mark.parametrize("header", sorted(_MODULES))
def test_the_headers_say_the_same(header: str, uapi_headers: Path, tmp_path: Path) -> None:
    facts = list(_facts(_MODULES[header]))
    assert len(facts) > 20
    lines = [f'    printf("%lld\\n", {expression});' for expression, _ in facts]
    source = tmp_path / "facts.c"
    source.write_text(
        f"#include <stddef.h>\n#include <stdio.h>\n#include <{header}>\n"
        "int main(void)\n{\n" + "\n".join(lines) + "\n    return 0;\n}\n"
    )
    program = tmp_path / "facts"
    subprocess.run(["gcc", "-I", str(uapi_headers), "-o", str(program), str(source)], check=True)
    printed = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    theirs = dict(zip((fact[0] for fact in facts), map(int, printed.split()), strict=True))
    assert theirs == dict(facts)


def test_the_union_of_a_dependent_device_is_at_its_start() -> None:
    one = vfio.vfio_pci_dependent_device
    assert (one.group_id.offset, one.devid.offset, ctypes.sizeof(one)) == (0, 0, 8)
