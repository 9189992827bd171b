"""The options of the guard: rates, bounds for a client, and tokens."""

import pytest

from device.errors import UsageError
from device.system.options import Parser
from host.serving.guard import ClientLimits
from host.serving.guard_options import GuardOptions, add_arguments, guard_options_of
from host.serving.limits import ConnectionLimits
from tests.host.serving.conftest import TOKEN


def options(*given):
    parser = Parser()
    add_arguments(parser)
    return guard_options_of(parser.parse_args(given))


def test_options_become_limits(token_file):
    plain = options()
    assert plain == GuardOptions(ClientLimits(0.0, 1, 256), None, ConnectionLimits())
    given = options("--rate", "2.5", "--client-requests=4", "--max-connections=9", "--client-connections=3", "--token-file",
                    str(token_file))  # fmt: skip
    assert given.client_limits == ClientLimits(2.5, 3, 4)
    assert given.connection_limits == ConnectionLimits(9, 3)
    assert given.tokens.client_of("Bearer " + TOKEN) == "cam-1"
    assert options("--rate=0.5", "--burst=20").client_limits == ClientLimits(0.5, 20, 256)


@pytest.mark.parametrize(
    "given",
    ["--rate=0", "--rate=nan", "--rate=-1", "--rate=inf", "--burst=5", "--rate=5 --burst=0", "--client-requests=0",
     "--max-connections=0", "--client-connections=-1", "--token-file=/nowhere/tokens"],
)  # fmt: skip
def test_options_that_cannot_work(given):
    with pytest.raises(UsageError) as raised:
        options(*given.split())
    assert "expected" in str(raised.value)
