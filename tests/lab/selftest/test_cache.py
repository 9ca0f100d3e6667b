"""The lab's cache: where it is, whole entries only, and names that follow what they are made of."""

import json
import threading
from pathlib import Path

import pytest

from tests.lab import kernels
from tests.lab.archive import ArchiveError
from tests.lab.build import missing_options
from tests.lab.cache import (
    cache_directory,
    guest_slot,
    locked,
    make_entry,
    short_hash,
    sweep_unfinished,
)
from tests.lab.qemu import version_of


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISOD_LAB_CACHE", str(tmp_path))
    return tmp_path


def test_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOD_LAB_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_directory() == Path("/home/somebody/.cache/isod-lab")
    monkeypatch.setenv("XDG_CACHE_HOME", "/big")
    assert cache_directory() == Path("/big/isod-lab")
    monkeypatch.setenv("ISOD_LAB_CACHE", str(tmp_path))
    assert cache_directory() == tmp_path


def test_entry_is_whole_or_absent(tmp_path: Path) -> None:
    def fails_midway(entry: Path) -> None:
        (entry / "half").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        make_entry(tmp_path / "entry", fails_midway)
    assert list(tmp_path.iterdir()) == []
    make_entry(tmp_path / "entry", lambda entry: (entry / "all").touch())
    assert (tmp_path / "entry/all").exists()


def test_leftovers_of_a_killed_run_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".6.1-abc.x1").mkdir()
    (tmp_path / ".6.1-abc.x1.tree.x2").mkdir()
    (tmp_path / ".6.12-abc.x1").mkdir()
    (tmp_path / "6.1-abc").mkdir()
    sweep_unfinished(tmp_path, "6.1")
    # Another kernel may be in the making at this very moment.
    assert sorted(path.name for path in tmp_path.iterdir()) == [".6.12-abc.x1", "6.1-abc"]


@pytest.mark.usefixtures("cache")
def test_lock_is_held_by_one() -> None:
    order = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with locked("thing"):
            order.append("second")

    with locked("thing"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


@pytest.mark.usefixtures("cache")
def test_slots_are_few_and_waiting_for_one_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOD_LAB_GUESTS", "1")
    stopped = threading.Event()
    answers = []

    def second() -> None:
        with guest_slot(stopped) as free:
            answers.append(free)

    with guest_slot(threading.Event()) as free:
        assert free
        thread = threading.Thread(target=second)
        thread.start()
        stopped.set()
        thread.join()
    assert answers == [False]
    with guest_slot(threading.Event()) as free:
        assert free


def test_hash_tells_parts_apart() -> None:
    assert short_hash("ab", "c") != short_hash("a", "bc")


def make_kernel(cache: Path, name: str, recipe: str) -> None:
    entry = cache / "kernels" / f"{name}-{recipe}-0123"
    entry.mkdir(parents=True)
    (entry / "entry.json").write_text(json.dumps({"release": "9.9", "image": "bzImage"}))


def test_cached_kernel_must_be_of_the_same_recipe(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_kernel(cache, "7.2", "elsewise")
    assert kernels.cached_kernel("7.2") is None
    monkeypatch.setattr(kernels, "_recipe_hash", lambda name: "elsewise")
    kernel = kernels.cached_kernel("7.2")
    assert kernel is not None
    assert kernel.release == "9.9"
    assert kernel.headers is None


def test_cached_kernel_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_recipe_hash", lambda name: "same")
    monkeypatch.setattr(kernels, "Archive", None)
    make_kernel(cache, "6.1", "same")
    assert kernels.ensure_kernel("6.1").release == "9.9"


def test_source_is_the_wanted_one_or_the_newest() -> None:
    assert kernels.choose_source(["linux-source-7.3", "linux-source-7.2"]) == "linux-source-7.2"
    assert kernels.choose_source(["linux-source-7.3", "linux-source-7.10"]) == "linux-source-7.10"
    with pytest.raises(ArchiveError):
        kernels.choose_source(["linux-source-6.12", "linux-source-7.2-rt"])


def test_stock_release_is_read_from_the_dependency() -> None:
    depends = "linux-image-6.12.95+deb12-amd64 (= 6.12.95-1~bpo12+1)"
    assert kernels.stock_release(depends) == "6.12.95+deb12-amd64"
    assert kernels.stock_release("") is None


def test_options_that_were_not_taken_are_named() -> None:
    wanted = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\n"
    assert missing_options(wanted, "CONFIG_A=y\n# CONFIG_C is not set\n") == ["CONFIG_B=y"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)", 10),
        ("1:7.2+dfsg-7", 7),
        ("(none)", None),
    ],
)
def test_qemu_version(text: str, version: int | None) -> None:
    assert version_of(text) == version
