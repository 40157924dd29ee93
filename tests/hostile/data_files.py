"""External data that lie where they should not, or are not there, or are not what they are said to be."""

from __future__ import annotations

import os
from pathlib import Path

from onnx import ModelProto, TensorProto

from hostile.case import FOLDS, MODEL, conv_bn, hostile_folder, tensor_of

OUTSIDE = "outside the model's folder"
LENGTH = 4 * 4 * 3 * 3 * 3
"""Bytes of the Conv's weight."""


def external(folder: Path, *, model: ModelProto | None = None, name: str = "W", **said: str) -> None:
    """Write a model, one of whose tensors says that it lies elsewhere; "model.data" holds enough for it."""
    model = model or conv_bn()
    tensor = tensor_of(model, name)
    data = folder / "model.data"
    if not data.exists():
        data.write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    (folder / MODEL).write_bytes(model.SerializeToString())


def secret(folder: Path) -> Path:
    """A file that the model has no business with, long enough to be its weight."""
    place = folder.parent / "secret"
    place.write_bytes(b"k" * 4096)
    return place


@hostile_folder(OUTSIDE)
def location_goes_up(folder: Path) -> None:
    secret(folder)
    external(folder, location="../secret", length=str(LENGTH))


@hostile_folder(OUTSIDE)
def location_goes_down_and_up(folder: Path) -> None:
    secret(folder)
    (folder / "a").mkdir()
    external(folder, location="a/../../secret", length=str(LENGTH))


@hostile_folder(OUTSIDE)
def location_is_absolute(folder: Path) -> None:
    external(folder, location=str(secret(folder)), length=str(LENGTH))


@hostile_folder(OUTSIDE)
def location_is_in_proc(folder: Path) -> None:
    external(folder, location="/proc/self/environ")


@hostile_folder(OUTSIDE)
def location_is_a_link_out(folder: Path) -> None:
    (folder / "link").symlink_to(secret(folder))
    external(folder, location="link", length=str(LENGTH))


@hostile_folder(OUTSIDE)
def location_is_in_a_linked_folder(folder: Path) -> None:
    secret(folder)
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    external(folder, location="up/secret", length=str(LENGTH))


@hostile_folder("no such file|outside")
def location_is_a_circle_of_links(folder: Path) -> None:
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    external(folder, location="one")


@hostile_folder("no such file")
def location_is_a_pipe_that_nobody_writes(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    external(folder, location="pipe")


@hostile_folder(OUTSIDE)
def location_is_a_device(folder: Path) -> None:
    external(folder, location="/dev/zero", length=str(LENGTH))


@hostile_folder("no such file|outside")
def location_is_a_link_to_a_device(folder: Path) -> None:
    (folder / "zero").symlink_to("/dev/zero")
    external(folder, location="zero", length=str(LENGTH))


@hostile_folder("no such file")
def location_is_a_folder(folder: Path) -> None:
    (folder / "a").mkdir()
    external(folder, location="a")


@hostile_folder("no such file")
def location_holds_a_null(folder: Path) -> None:
    external(folder, location="model.data\0", length=str(LENGTH))


@hostile_folder("no such file")
def location_is_long(folder: Path) -> None:
    external(folder, location="a" * 70_000)


@hostile_folder("no such file|outside")
def location_is_the_folder_itself(folder: Path) -> None:
    external(folder, location=".")


@hostile_folder("does not say in which file")
def location_is_empty(folder: Path) -> None:
    external(folder, location="")


@hostile_folder("does not say in which file")
def location_is_missing(folder: Path) -> None:
    external(folder)


@hostile_folder("does not hold what it declares")
def location_is_the_model_itself(folder: Path) -> None:
    external(folder, location=MODEL)


@hostile_folder("cut off or belongs to another model")
def offset_is_past_the_end(folder: Path) -> None:
    external(folder, location="model.data", offset="1000000", length=str(LENGTH))


@hostile_folder("cut off or belongs to another model")
def offset_is_past_the_end_without_a_length(folder: Path) -> None:
    external(folder, location="model.data", offset="1000000")


@hostile_folder("cut off or belongs to another model")
def length_is_past_the_end(folder: Path) -> None:
    external(folder, location="model.data", length=str(2**62))


@hostile_folder("cut off or belongs to another model")
def offset_and_length_overflow_together(folder: Path) -> None:
    external(folder, location="model.data", offset=str(2**64 - 4), length=str(LENGTH + 4))


@hostile_folder("not a number of bytes")
def offset_is_negative(folder: Path) -> None:
    external(folder, location="model.data", offset="-4", length=str(LENGTH))


@hostile_folder("not a number of bytes")
def length_is_negative(folder: Path) -> None:
    external(folder, location="model.data", length="-1")


@hostile_folder("not a number of bytes")
def offset_is_in_digits_of_another_script(folder: Path) -> None:
    external(folder, location="model.data", offset="٤", length=str(LENGTH))


@hostile_folder("not a number of bytes")
def offset_is_superscript(folder: Path) -> None:
    external(folder, location="model.data", offset="²", length=str(LENGTH))


@hostile_folder("not a number of bytes")
def offset_has_thousands_of_digits(folder: Path) -> None:
    external(folder, location="model.data", offset="9" * 10_000, length=str(LENGTH))


@hostile_folder("does not hold what it declares")
def length_is_too_small_for_the_shape(folder: Path) -> None:
    external(folder, location="model.data", length="8")


@hostile_folder("does not hold what it declares")
def length_is_none(folder: Path) -> None:
    external(folder, location="model.data", length="0")


@hostile_folder("does not hold what it declares")
def ten_gigabytes_in_a_small_file(folder: Path) -> None:
    model = conv_bn()
    tensor_of(model, "W").dims[:] = [4, 3, 3, 10**9]
    external(folder, model=model, location="model.data")


@hostile_folder(FOLDS)
def ranges_overlap(folder: Path) -> None:
    """ONNX does not forbid it; each tensor is read as it says, and none is written over."""
    model = conv_bn()
    (folder / "model.data").write_bytes(tensor_of(model, "W").raw_data)
    for name in "sbm":
        tensor = tensor_of(model, name)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", "model.data"), ("offset", "4"), ("length", "16")):
            tensor.external_data.add(key=key, value=value)
    external(folder, model=model, location="model.data", length=str(LENGTH))


@hostile_folder(OUTSIDE)
def location_is_repeated(folder: Path) -> None:
    model = conv_bn()
    tensor_of(model, "W").external_data.add(key="location", value="model.data")
    secret(folder)
    external(folder, model=model, location="../secret", length=str(LENGTH))


@hostile_folder("no such file|outside")
def location_pretends_to_be_a_reference(folder: Path) -> None:
    external(folder, location="\0bnfold-0123456789abcdef-0/0/432")


@hostile_folder("is no text")
def location_is_no_text(folder: Path) -> None:
    external(folder, location="LOCATION")
    raw = (folder / MODEL).read_bytes()
    (folder / MODEL).write_bytes(raw.replace(b"LOCATION", b"\xff\xfe\xfd\xfcTION"))


@hostile_folder(FOLDS)
def tensor_of_no_known_type_lies_beside_the_weights(folder: Path) -> None:
    model = conv_bn()
    odd = model.graph.initializer.add(name="odd", data_type=12345, dims=[2**62])
    odd.data_location = TensorProto.EXTERNAL
    odd.external_data.add(key="location", value="model.data")
    external(folder, model=model, location="model.data", length=str(LENGTH))


@hostile_folder(FOLDS)
def two_models_share_one_data_file(folder: Path) -> None:
    """The file is never written over, whatever is folded."""
    external(folder, location="model.data", length=str(LENGTH))
    (folder / "other.onnx").write_bytes((folder / MODEL).read_bytes())
