"""NUMA distances come from the kernel's own lines, or are not known."""

from __future__ import annotations

from pathlib import Path

from isod.kernel.scan_numa import scan_distances


def nodes(root: Path, **lines: str | None) -> Path:
    for name, line in lines.items():
        place = root / "sys/devices/system/node" / name
        place.mkdir(parents=True)
        if line is not None:
            (place / "distance").write_text(line + "\n")
    return root


def test_a_kernel_without_numa_says_nothing(tmp_path: Path) -> None:
    assert scan_distances(tmp_path) == {}


def test_a_line_has_the_online_nodes_in_order(tmp_path: Path) -> None:
    root = nodes(tmp_path, node0="10 21 30", node2="21 10 30", node10="30 30 10")
    assert scan_distances(root) == {
        0: {0: 10, 2: 21, 10: 30},
        2: {0: 21, 2: 10, 10: 30},
        10: {0: 30, 2: 30, 10: 10},
    }


def test_a_line_that_does_not_fit_is_no_knowledge(tmp_path: Path) -> None:
    root = nodes(tmp_path, node0="10 21", node1="21", node2="a b c", node3=None)
    assert scan_distances(root) == {}


def test_what_else_is_there_is_no_node(tmp_path: Path) -> None:
    root = nodes(tmp_path, node0="10", power="1 2")
    (root / "sys/devices/system/node/online").write_text("0\n")
    assert scan_distances(root) == {0: {0: 10}}
