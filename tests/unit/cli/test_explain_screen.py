"""The screen of explain."""

from __future__ import annotations

from isod.cli.screen.explain import explain_screen
from isod.cli.screen.terminal import WIDTH, render
from isod.model.address import Address
from isod.model.reply import AsOf, DecisionInfo, ExplainResult, LeasedDevice, PlannedStep

NVME = Address.parse("02:00.0")


def test_rule_steps_and_undo_are_told_within_the_width() -> None:
    result = ExplainResult(
        allowed=True,
        decision=DecisionInfo(
            rule="alice-vm",
            file="50-vm.toml",
            hand_over="iommufd",
            memlock=1 << 33,
            scrub="try",
            anchor="hold",
        ),
        plan=(
            PlannedStep(step="unbind", text="02:00.0 from nvme", undo="probing again"),
            PlannedStep(step="reset", text="02:00.0 (function)"),
            PlannedStep(step="open", text="iommufd, vfio3\x1b[31m (unbound)"),
        ),
        devices=(LeasedDevice(address=NVME, generation=1, group=13, why="requested"),),
        warnings=("memlock not raised",),
        as_of=AsOf(snapshot=1, policy=1),
    )
    lines = render(explain_screen(result), width=WIDTH, colour=False).splitlines()
    assert lines[0].startswith("Allowed by rule alice-vm (50-vm.toml).  1 device, 1 group, nothing")
    assert "1 unbind   02:00.0 from nvme" in lines[1]
    assert lines[1].rstrip().endswith("undone by: probing again")
    assert lines[2].split() == ["2", "reset", "02:00.0", "(function)", "scrub", "is", "required"]
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "Warning: memlock not raised"
    assert max(map(len, lines)) <= WIDTH
