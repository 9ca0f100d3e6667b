"""``isod survey``: a oneshot that leaves a file and ends with a code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isod.cli.isod import main
from isod.kernel.simulated.build import build
from isod.kernel.simulated.hosts import DEMO
from isod.model.survey import PortType, Survey


@pytest.fixture
def host(tmp_path: Path) -> Path:
    build(tmp_path / "host", DEMO)
    return tmp_path / "host"


def test_it_leaves_a_file_beside_the_simulated_host(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["survey", "--simulate", str(host)]) == 0
    survey = Survey.model_validate_json((host / "survey" / "survey.json").read_bytes())
    found = {function.address.short: function for function in survey.functions}
    assert len(found) == len(DEMO.places)
    port = found["00:02.0"]
    assert port.express is not None
    assert port.express.port is PortType.root_port
    assert port.acs is not None
    assert port.acs.control == 0x1D
    assert found["01:00.0"].multifunction
    assert found["01:00.1"].multifunction
    assert not found["02:00.0"].multifunction
    assert found["04:01.0"].express is None
    assert capsys.readouterr().out == ""


def test_a_generation_is_that_of_the_directory(host: Path) -> None:
    main(["survey", "--simulate", str(host)])
    survey = Survey.model_validate_json((host / "survey" / "survey.json").read_bytes())
    devices = host / "sys/bus/pci/devices"
    for function in survey.functions:
        assert function.generation == (devices / function.address.name).stat().st_ino


def test_json_is_printed_and_nothing_written(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["survey", "--simulate", str(host), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"] == 1
    assert not (host / "survey").exists()


def test_without_sys_admin_it_says_so_and_what_it_wrote_is_unknown(
    host: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for config in (host / "sys/bus/pci/devices").glob("*/config"):
        header = config.read_bytes()[:64]
        config.unlink()
        config.write_bytes(header)
    assert main(["survey", "--simulate", str(host)]) == 3
    assert "CAP_SYS_ADMIN" in capsys.readouterr().err
    survey = Survey.model_validate_json((host / "survey" / "survey.json").read_bytes())
    (port,) = [one for one in survey.functions if one.address.short == "00:02.0"]
    assert (port.header_type, port.capabilities, port.extended) == (1, False, False)


def test_config_space_that_is_a_link_is_not_read(host: Path) -> None:
    place = (host / "sys/bus/pci/devices/0000:02:00.0").resolve()
    (place / "config").rename(place / "elsewhere")
    (place / "config").symlink_to("elsewhere")
    main(["survey", "--simulate", str(host)])
    survey = Survey.model_validate_json((host / "survey" / "survey.json").read_bytes())
    (function,) = [one for one in survey.functions if one.address.short == "02:00.0"]
    assert function.header_type is None


def test_a_folder_that_cannot_be_written_is_a_failure(
    host: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["survey", "--simulate", str(host), "--output", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err


def test_what_is_no_simulated_host_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert main(["survey", "--simulate", str(tmp_path / "nothing")]) == 2
