"""Numbers of every command of the device: whatever is typed, it is taken or refused in one sentence."""

import argparse
import importlib

import pytest

from device.cameras.open import open_camera
from device.commands.cli import COMMANDS
from device.errors import DataError, UsageError
from device.system.options import MANY, Parser, decimal_number, whole_number
from device.system.suggest import did_you_mean

TYPED = ("-1", "0", "nan", "inf", "-inf", "1e999", "\u00b2", "\u0663", "1_0", "", " 1", "0x10", "1.5.2", "9" * 5000)


def numeric(parser):
    """Options of a parser that take a number: those with a type that is neither text nor a path."""
    return [
        action
        for action in parser._actions
        if action.option_strings and action.type is not None and getattr(action.type, "__name__", "") != "Path"
    ]


def parser_of(command):
    parser = Parser(prog="python -m device " + command)
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


def check_numbers(parser, required=()):
    """Feed every numeric option with what is no number or out of all range.

    Returns:
        how many options there are.
    """
    for action in numeric(parser):
        option = action.option_strings[-1]
        assert action.type not in (int, float), "{} takes what int() or float() take".format(option)
        for text in TYPED:
            count = action.nargs if isinstance(action.nargs, int) else 1
            given = "{}={}".format(option, text) if count == 1 else None
            words = [given] if given else [option, *[text] * count]
            try:
                value = getattr(parser.parse_args([*required, *words]), action.dest)
            except UsageError as error:
                assert option in str(error)
                assert "expected" in str(error)
            else:  # the only one of them that is a number and within some bounds
                assert text == "0"
                assert value in (0, [0, 0])
    return len(numeric(parser))


@pytest.mark.parametrize(("command", "required"), [
    ("run", ["--bundle", "b", "--source", "s"]), ("bench", []), ("preview", ["--bundle", "b", "--source", "s"]),
    ("plan", ["--bench", "b"]), ("doctor", []), ("jpeg", ["--out", "o"]),
])  # fmt: skip
def test_every_number_is_taken_or_refused_in_one_sentence(command, required):
    assert set(COMMANDS) == {"run", "bench", "plan", "preview", "doctor", "jpeg"}  # none is left out
    count = check_numbers(parser_of(command), required)
    assert count == {"run": 8, "bench": 9, "plan": 4, "preview": 10, "doctor": 0, "jpeg": 3}[command]


SOURCES = ("photos:?size={}x3", "photos:?size=3x{}", "photos:?seed={}", "photos:?rate={}",
           "v4l2:///dev/video987?size=640x480&rate={}", "csi://?sensor={}", "picamera2://?size=640x480&rate={}")  # fmt: skip


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("text", [text for text in TYPED if text not in ("", "0", " 1")])
def test_numbers_in_a_source_are_refused_in_one_sentence(source, text):
    with pytest.raises(UsageError, match="expected"):
        open_camera(source.format(text)).close()


def test_bounds_belong_to_the_range_and_the_sentence_names_them():
    assert [whole_number(text, -2, 5) for text in ("-2", "5", "+3", "002")] == [-2, 5, 3, 2]
    assert [decimal_number(text, 0, 5) for text in ("0", "5.0", ".5", "1e-3", "2.")] == [0, 5, 0.5, 0.001, 2]
    with pytest.raises(ValueError, match="^found 6; expected a whole number from -2 to 5$"):
        whole_number("6", -2, 5)
    with pytest.raises(ValueError, match="^found 0; expected a whole number of at least 1$"):
        whole_number("0", 1, MANY)
    with pytest.raises(ValueError, match="^found nan; expected a number from 0 to 1$"):
        decimal_number("nan", 0, 1)
    with pytest.raises(ValueError, match=r"^found '\\x1b\[2J'; expected"):
        whole_number("\x1b[2J", 0, 1)
    with pytest.raises(ValueError, match="^.{1,120}$"):
        whole_number("9" * 5000, 0, 1)


def test_a_parser_raises_instead_of_ending_the_process():
    parser = Parser(prog="defq run")
    parser.add_argument("--kind", choices=("a", "b"))
    with pytest.raises(UsageError, match="^found --kind 'c'; expected one of a, b$"):
        parser.parse_args(["--kind", "c"])
    with pytest.raises(UsageError, match="unrecognized arguments: --what; see: defq run --help"):
        parser.parse_args(["--what"])
    assert isinstance(parser, argparse.ArgumentParser)


def test_a_name_that_is_almost_right_is_told_the_right_one():
    parser = Parser(prog="defq run")
    parser.add_argument("--model", choices=("mobilenet", "vgg16"))
    with pytest.raises(
        UsageError, match=r"^found --model 'Moblenet'; expected one of mobilenet, vgg16; did you mean mobilenet\?$"
    ):
        parser.parse_args(["--model", "Moblenet"])
    with pytest.raises(
        UsageError, match=r"^unrecognized arguments: --modell=vgg16; did you mean --model\?; see: defq run --help$"
    ):
        parser.parse_args(["--modell=vgg16"])
    assert did_you_mean("zebra", ("mobilenet", "vgg16")) == ""


@pytest.mark.parametrize("path", ["/dev/video0", "/dev/video12"])
def test_a_camera_without_its_scheme_is_told_a_source_that_works(path):
    with pytest.raises(UsageError) as raised:
        open_camera(path)
    suggested = "v4l2://" + path
    assert suggested in str(raised.value)
    with pytest.raises(Exception, match="^(?!.*found --source)"):  # it is one: at most there is no such camera
        open_camera(suggested).close()
        raise DataError("there is a camera")
