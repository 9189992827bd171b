"""The options that run, preview and bench share: their groups, and what they are when nothing is given."""

import pytest

from device.commands.cli import COMMANDS, parser_of
from device.commands.options import payload_of
from device.errors import UsageError

GROUPED = ("run", "preview", "bench", "jpeg")
REQUIRED = {"run": ["--bundle", "b", "--source", "s"], "preview": ["--bundle", "b", "--source", "s"], "bench": []}


@pytest.mark.parametrize("command", GROUPED)
def test_the_help_shows_the_groups_in_one_order(command):
    text = parser_of("defq", command, COMMANDS).format_help()
    shown = [line[:-1] for line in text.splitlines() if line in ("source:", "decision:", "host:", "output:")]
    assert shown == [
        title for title in ("source", "decision", "host", "output") if command != "jpeg" or title != "host"
    ]
    options = text.index("-h, --help") + len("-h, --help")
    assert "\n  -" not in text[options : text.index("\nsource:")]  # every option is in one of them


@pytest.mark.parametrize("command", sorted(REQUIRED))
def test_without_options_the_device_answers_alone_with_what_works_best(command):
    given = parser_of("defq", command, COMMANDS).parse_args(REQUIRED[command])
    assert (given.host, given.require_host, given.rad, given.engine, given.threads) == (None, False, None, "auto", 0)
    assert (given.connections, given.timeout_ms, given.fp16, given.debug) == (4, 2000, False, False)
    assert payload_of(given) == ("fp32" if command == "preview" else "auto")
    if command != "bench":
        assert (given.defq, given.monitor, given.learn, given.frames) == (
            "on" if command == "run" else "off",
            False,
            0,
            None,
        )


@pytest.mark.parametrize("command", ["run", "preview"])
def test_a_bundle_and_a_source_are_required(command):
    with pytest.raises(UsageError, match="--bundle.*--source"):
        parser_of("defq", command, COMMANDS).parse_args([])


@pytest.mark.parametrize(
    "words", [["--connections", "0"], ["--timeout-ms", "0.5"], ["--rad", "101"], ["--payload", "png"]]
)
def test_what_cannot_be_meant_is_one_sentence(words):
    with pytest.raises(UsageError, match="found {} .*; expected".format(words[0])):
        parser_of("defq", "bench", COMMANDS).parse_args(words)
