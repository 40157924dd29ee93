"""What is wrong with the files themselves: no room, no permission, no file at all, or another one by now."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Outcome, bnfold_process
from faults.cases import CASES, Case, listing, names, network, parts, plain, save, two_models
from support import normal

import bnfold
from bnfold.folding.rounds import make_round
from bnfold.model.container import open_model
from bnfold.model.mapped_file import FileSource

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs files of POSIX")
is_root = hasattr(os, "geteuid") and os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="needs to mount, or to become another user: root")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two models of the same sizes, m with its weights in it and e with a data file."""
    return two_models(tmp_path)


def bnfold_in(folder: Path, *arguments: str, before: Callable[[], None] | None = None) -> Outcome:
    command = [sys.executable, "-m", "bnfold", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=before, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return Outcome(done.returncode, done.stdout, done.stderr)


def refused(outcome: Outcome, said: str) -> None:
    """Exit status 2 and one sentence."""
    assert outcome.status == 2, outcome
    assert len(outcome.err.splitlines()) == 1
    assert said in outcome.err


# --- no room ---------------------------------------------------------------------------------------------------------


def limited() -> None:
    """No file can become longer than 64 KiB: a disk that is full in the middle of a write."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_disk_that_is_full_keeps_the_old_model_and_gets_nothing_new(tmp_path: Path, case: Case) -> None:
    case.prepare(tmp_path)
    before = listing(tmp_path)
    refused(bnfold_in(tmp_path, *case.arguments, before=limited), "can not be written: File too large")
    assert listing(tmp_path) == before


def full_while_weights_are_made() -> None:
    """Room for a half of the weights, which are made in a thread by then."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 22, 1 << 22))


@pytest.mark.parametrize("form", ["--inline", "--external-data"])
def test_a_disk_that_is_full_in_the_middle_of_a_large_weight_keeps_the_old_model(tmp_path: Path, form: str) -> None:
    save(network(1, width=500), tmp_path / "m.onnx")
    save(network(0), tmp_path / "out.onnx")
    before = listing(tmp_path)
    command = ["fold", "m.onnx", "-o", "out.onnx", "--no-check", form]
    refused(bnfold_in(tmp_path, *command, before=full_while_weights_are_made), "can not be written: File too large")
    assert listing(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 900 KiB, in which there is room for the models but not for another one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=900k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode()}")
    yield place
    subprocess.run(["umount", place], check=True)


@needs_root
@pytest.mark.parametrize("form", ["--inline", "--external-data"])
def test_a_file_system_that_is_full_keeps_the_old_model_and_takes_the_new_one_when_there_is_room(
    small_disk: Path, form: str
) -> None:
    save(network(1), small_disk / "m.onnx")
    bnfold.fold(network(0)).save(small_disk / "out.onnx")
    before = listing(small_disk)
    assert sum(map(len, before.values())) > 1 << 19
    refused(
        bnfold_in(small_disk, "fold", "m.onnx", "-o", "out.onnx", form), "can not be written: No space left on device"
    )
    assert listing(small_disk) == before
    (small_disk / "out.onnx").unlink()
    assert bnfold_in(small_disk, "fold", "m.onnx", "-o", "out.onnx", form).status == 0


def full_at_once() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "m.onnx", "--json"), ("inspect", "m.onnx", "--html"), ("check", "m.onnx", "m.onnx", "--junit")],
    ids=lambda arguments: str(arguments[-1]),
)
def test_a_disk_that_is_full_keeps_the_report_that_was_there(folder: Path, arguments: tuple[str, ...]) -> None:
    (folder / "report").write_text("the older one")
    before = listing(folder)
    outcome = bnfold_in(folder, *arguments, "report", before=full_at_once)
    refused(outcome, "'report' can not be written: File too large")
    assert listing(folder) == before
    assert bnfold_in(folder, *arguments, "report").status == 0
    assert "bnfold" in (folder / "report").read_text()


REPORTING = (
    "fold m.onnx -o o.onnx --json",
    "fold m.onnx -o o.onnx --html",
    "fold m.onnx m2.onnx --out-dir out --json",
    "insert m.onnx -o o.onnx --json",
    "insert m.onnx -o o.onnx --html",
    "calibrate m.onnx -o o.onnx --keep-statistics --json",
    "inspect m.onnx --json",
    "inspect m.onnx --html",
    "check m.onnx m.onnx --json",
    "check m.onnx m.onnx --junit",
    "check m.onnx m.onnx --html",
)


@pytest.mark.parametrize("command", REPORTING)
def test_no_model_is_written_where_its_report_can_not_be(folder: Path, command: str) -> None:
    shutil.copy(folder / "m.onnx", folder / "m2.onnx")
    before = listing(folder)
    refused(bnfold_in(folder, *command.split(), "missing/report"), "'missing/report' can not be written: No such file")
    assert {name: content for name, content in listing(folder).items() if name != "out"} == before


def test_a_report_may_be_in_the_folder_that_the_result_makes(folder: Path) -> None:
    reports = ("--json", "out/report.json", "--html", "out/page.html")
    done = bnfold_in(folder, "fold", "m.onnx", "--out-dir", "out", *reports)
    assert done.status == 0, done
    assert sorted(names(folder / "out")) == ["m.folded.onnx", "page.html", "report.json"]


@pytest.mark.parametrize("arguments", [(), ("--json", "-")], ids=["text", "json"])
def test_a_stdout_that_takes_nothing_is_told_of_in_a_sentence(folder: Path, arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "bnfold", "inspect", "m.onnx", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        2,
        "bnfold: what is to be shown can not be written: No space left on device\n",
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("arguments", ["--version", "inspect m.onnx", "fold m.onnx", "fold m.onnx m2.onnx --jobs 2"])
def test_a_stream_that_is_closed_is_no_fault(folder: Path, arguments: str, closed: str) -> None:
    shutil.copy(folder / "m.onnx", folder / "m2.onnx")
    command = f"{sys.executable} -m bnfold {arguments} {closed}"
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed == "2>&-")
    assert (folder / "m.folded.onnx").exists() == arguments.startswith("fold")


# --- no permission ---------------------------------------------------------------------------------------------------


AS_NOBODY = """
import os, sys
import bnfold
from pathlib import Path
folder, target = Path(sys.argv[1]), sys.argv[2]
result = bnfold.fold(folder / "m.onnx")
result.save(folder / "first.onnx")  # imports all that another user may not be able to read
(folder / "first.onnx").unlink()
os.chdir(folder)
(folder / "out.onnx").chmod(int(sys.argv[3], 8))
folder.chmod(int(sys.argv[4], 8))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    result.save(target)
except bnfold.TargetError as error:
    print(error)
"""

FOLD = ("fold", "m.onnx", "-o", "out.onnx", "--no-check")


@needs_root
@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "said"),
    [
        ("666", "555", "'out.onnx' can not be written: Permission denied\n"),
        ("444", "777", "'out.onnx' is read-only; name another file, or make it writable\n"),
        ("666", "777", ""),
    ],
    ids=["folder", "file", "neither"],
)
def test_what_this_user_may_not_write_stays_as_it_is(others: Path, file_mode: str, folder_mode: str, said: str) -> None:
    before = listing(others)
    command = [sys.executable, "-c", AS_NOBODY, str(others), "out.onnx", file_mode, folder_mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", said)
    assert (listing(others) == before) == bool(said)
    assert names(others) == ["m.onnx", "out.onnx"]


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Path]:
    """A folder that everybody can get to, with a model that everybody can read."""
    for parent in tmp_path.parents[:3]:
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | stat.S_IXOTH | stat.S_IXGRP)
    save(network(1), tmp_path / "m.onnx")
    bnfold.fold(network(0)).save(tmp_path / "out.onnx")
    yield tmp_path
    tmp_path.chmod(0o755)


@needs_root
def test_a_file_that_is_replaced_keeps_its_permissions_and_its_owner(others: Path) -> None:
    os.chown(others / "out.onnx", 12345, 54321)
    (others / "out.onnx").chmod(0o640)
    assert bnfold_in(others, *FOLD, "--external-data").status == 0
    for name in ("out.onnx", "out.onnx.data"):
        state = (others / name).stat()
        assert (state.st_uid, state.st_gid, stat.S_IMODE(state.st_mode)) == (12345, 54321, 0o640), name


def test_a_new_file_has_the_permissions_that_new_files_get(folder: Path) -> None:
    def careful() -> None:
        os.umask(0o027)

    assert bnfold_in(folder, *FOLD, "--external-data", before=careful).status == 0
    assert [stat.S_IMODE((folder / name).stat().st_mode) for name in ("out.onnx", "out.onnx.data")] == [0o640, 0o640]


# --- targets that are no plain file ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("folder", "is a folder; name a file in it"),
        ("pipe", "is a device or a pipe, which can not be replaced; name a file"),
        ("/dev/full", "is a device or a pipe, which can not be replaced; name a file"),
        ("/dev/stdout", "is what this process writes to already; name a file"),
        ("/dev/fd/1", "is what this process writes to already; name a file"),
        ("circle", "can not be written: Too many levels of symbolic links"),
        ("none/out.onnx", "can not be written: No such file or directory"),
        ("m.onnx/out.onnx", "can not be written: Not a directory"),
    ],
)
def test_what_is_no_file_is_not_replaced_by_one(folder: Path, target: str, said: str) -> None:
    (folder / "folder").mkdir()
    (folder / "circle").symlink_to("circle")
    os.mkfifo(folder / "pipe")
    before = names(folder)
    command = [sys.executable, "-m", "bnfold", "fold", "m.onnx", "-o", target, "--no-check"]
    with (folder / "said").open("w") as out:  # what a shell has sent stdout to
        done = subprocess.run(command, cwd=folder, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
    refused(Outcome(done.returncode, "", done.stderr), f"'{target}' {said}")
    assert names(folder) == sorted([*before, "said"])


@pytest.mark.parametrize("exists", [False, True], ids=["dangling", "to a file"])
def test_a_symbolic_link_is_followed(folder: Path, exists: bool) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "link.onnx").symlink_to("elsewhere/real.onnx")
    if exists:
        (folder / "elsewhere" / "real.onnx").write_bytes(b"old")
    bnfold.fold(folder / "m.onnx").save(folder / "link.onnx")
    assert (folder / "link.onnx").is_symlink()
    assert bnfold.check(folder / "m.onnx", folder / "elsewhere" / "real.onnx")
    assert names(folder / "elsewhere") == ["real.onnx"]


def test_a_hard_link_is_replaced_under_its_one_name_and_a_remark_says_so(folder: Path) -> None:
    (folder / "out.onnx").write_bytes(b"old")
    (folder / "other.onnx").hardlink_to(folder / "out.onnx")
    (remark,) = bnfold.fold(folder / "m.onnx").save(folder / "out.onnx")
    assert "under the others that it has (hard links) it stays what it was" in remark
    assert (folder / "other.onnx").read_bytes() == b"old"
    assert bnfold.check(folder / "m.onnx", folder / "out.onnx")


# --- models that are no plain file -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "and there is no place beside it; say with --output where to write"),
        (("-o", "out.onnx"), "and the check reads the model again; give a file, or --no-check"),
    ],
)
def test_a_model_from_a_pipe_is_not_read_twice(folder: Path, arguments: tuple[str, ...], said: str) -> None:
    command = [sys.executable, "-m", "bnfold", "fold", "/dev/stdin", *arguments]
    raw = (folder / "m.onnx").read_bytes()
    done = subprocess.run(command, cwd=folder, input=raw, capture_output=True, timeout=60, check=False)
    refused(Outcome(done.returncode, "", done.stderr.decode()), said)
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx"]


@pytest.mark.parametrize(
    "command",
    [
        "check PIPE m.onnx",
        "check m.onnx PIPE",
        "inspect PIPE --html r.html",
        "insert PIPE -o out.onnx",
        "insert PIPE -o out.onnx --data d.npz",
        "calibrate PIPE -o out.onnx --data d.npz",
    ],
)
def test_a_model_from_a_pipe_is_not_waited_for_twice(folder: Path, command: str) -> None:
    os.mkfifo(folder / "pipe")
    words = [sys.executable, "-m", "bnfold", *command.replace("PIPE", "pipe").split()]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    refused(Outcome(done.returncode, done.stdout, done.stderr), "'pipe' is a pipe, which can be read once, and ")
    assert "reads the model again; give a file" in done.stderr
    assert not (folder / "out.onnx").exists()


def test_a_model_from_a_pipe_is_inspected(folder: Path) -> None:
    command = [sys.executable, "-m", "bnfold", "inspect", "/dev/stdin"]
    raw = (folder / "m.onnx").read_bytes()
    done = subprocess.run(command, cwd=folder, input=raw, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_model_from_a_pipe_folds_as_one_from_a_file(folder: Path) -> None:
    command = [sys.executable, "-m", "bnfold", "fold", "/dev/stdin", "-o", "out.onnx", "--no-check"]
    raw = (folder / "m.onnx").read_bytes()
    assert subprocess.run(command, cwd=folder, input=raw, capture_output=True, check=False).returncode == 0
    bnfold.fold(folder / "m.onnx").save(folder / "again.onnx")
    assert (folder / "out.onnx").read_bytes() == (folder / "again.onnx").read_bytes()


# --- a source that is another one by now -----------------------------------------------------------------------------


def overwritten(path: Path, by: Path) -> None:
    """In place, as most exporters do."""
    with path.open("r+b") as file:
        file.write(by.read_bytes())
        file.truncate()


def cut(path: Path, by: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replaced(path: Path, by: Path) -> None:
    shutil.copy(by, path.with_name("new"))
    path.with_name("new").replace(path)


def removed(path: Path, by: Path) -> None:
    path.unlink()


each_change = pytest.mark.parametrize("change", [overwritten, cut, replaced, removed])


@pytest.fixture
def newer(folder: Path) -> Path:
    """What somebody else writes: models of the same names and sizes."""
    place = folder / "newer"
    place.mkdir()
    save(network(3), place / "m.onnx")
    save(network(4), place / "e.onnx", external=True)
    return place


@each_change
@pytest.mark.parametrize("name", ["m.onnx", "e.onnx.in"])
def test_a_result_that_is_held_is_of_what_was_read_or_of_nothing(
    folder: Path, newer: Path, name: str, change: Callable[[Path, Path], None]
) -> None:
    """The API holds a model for as long as its caller does, and somebody else writes the file."""
    model = folder / name.removesuffix(".in")
    bnfold.fold(model).save(folder / "expected.onnx", "inline")
    expected = (folder / "expected.onnx").read_bytes()
    held = bnfold.fold(model)
    change(folder / name, newer / name)
    if name == "m.onnx" and change in {replaced, removed}:  # the file that was opened is there as long as it is used
        held.save(folder / "out.onnx", "inline")
        assert (folder / "out.onnx").read_bytes() == expected
        return
    before = names(folder)
    with pytest.raises(bnfold.ModelError, match=r"changed|replaced|cut off|no such file"):
        held.save(folder / "out.onnx", "inline")
    assert names(folder) == before


@each_change
def test_weights_that_change_while_a_model_is_folded_make_no_model(
    folder: Path, newer: Path, change: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def disturbed(*arguments: object) -> object:
        change(folder / "e.onnx.in", newer / "e.onnx.in")
        return make_round(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("bnfold.folding.fold.make_round", disturbed)
    with pytest.raises(bnfold.ModelError, match=r"changed|replaced|cut off|no such file"):
        bnfold.fold(folder / "e.onnx")


def test_the_graph_of_one_export_and_the_weights_of_another_are_no_model(
    folder: Path, newer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter replaces both files after the first one was opened."""
    begun = FileSource.__init__

    def late(self: FileSource, path: Path) -> None:
        begun(self, path)
        if path.name == "e.onnx":
            for name in ("e.onnx", "e.onnx.in"):
                replaced(folder / name, newer / name)

    monkeypatch.setattr(FileSource, "__init__", late)
    with pytest.raises(bnfold.ModelError, match="was changed or replaced after it was read"):
        open_model(folder / "e.onnx", in_place=True)


@pytest.mark.parametrize("change", [overwritten, replaced])
@pytest.mark.parametrize("form", ["as-it-came", "external"])
def test_a_model_that_somebody_else_has_written_meanwhile_is_not_lost(
    folder: Path, newer: Path, change: Callable[[Path, Path], None], form: str
) -> None:
    result = bnfold.fold(folder / "m.onnx")
    with result.staged(folder / "m.onnx", form) as work:
        change(folder / "m.onnx", newer / "m.onnx")
        with pytest.raises(bnfold.ModelError, match="was changed or replaced after it was read; nothing was written"):
            work.commit()
    assert (folder / "m.onnx").read_bytes() == (newer / "m.onnx").read_bytes()
    assert names(folder) == ["e.onnx", "e.onnx.in", "m.onnx", "newer"]


def test_a_result_is_saved_over_its_model_again_and_again(folder: Path) -> None:
    result = bnfold.fold(folder / "m.onnx")
    result.save(folder / "m.onnx")
    first = (folder / "m.onnx").read_bytes()
    result.save(folder / "m.onnx")
    result.save(folder / "other.onnx")
    assert (folder / "m.onnx").read_bytes() == (folder / "other.onnx").read_bytes() == first


def test_a_model_that_bnfold_replaces_while_it_is_held_changes_nothing_for_who_holds_it(folder: Path) -> None:
    for name in ("m.onnx", "e.onnx"):
        held = bnfold.fold(folder / name)
        assert bnfold_in(folder, "fold", name, "-o", name, "--no-check").status == 0
        held.save(folder / "held.onnx", "inline")
        assert parts(folder, "held.onnx")
        assert bnfold.check(folder / name, folder / "held.onnx")


def test_data_that_are_cut_off_between_a_look_and_the_reading_are_told_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bnfold.model import external

    tensor = onnx.load(folder / "e.onnx", load_external_data=False).graph.initializer[0]
    located = external.locate(tensor, folder)
    os.truncate(folder / "e.onnx.in", 100)
    monkeypatch.setattr(external, "locate", lambda *_: located)
    with pytest.raises(bnfold.ExternalDataError, match="was cut off while it was read"):
        external.read(tensor, folder)


def test_nothing_that_is_read_is_written(folder: Path) -> None:
    np.savez(folder / "data.npz", x=normal(8, 48, 5, 5, seed=2), u=normal(2, 256, seed=3))
    before = listing(folder)
    for arguments in (("fold", "m.onnx"), ("insert", "e.onnx"), ("calibrate", "m.onnx", "--data", "data.npz")):
        assert bnfold_process(*arguments, "-o", folder / "out.onnx").status in {0, 2}
    assert {name: content for name, content in listing(folder).items() if name in before} == before
    assert bnfold.fold(plain(1)).save(folder / "out.onnx") == ()
