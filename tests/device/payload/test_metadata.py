"""Which forms a host takes, by the metadata of this release, of earlier and of later ones."""

import json

import pytest

from device.payload.forms import inputs_of
from device.payload.metadata import forms_taken
from tests.device.payload.conftest import COEFFICIENTS, FP32, SHIPPED, UINT8


def metadata(bundle, **content):
    return json.dumps(dict({"name": bundle.id}, **content)).encode()


def names(bundle, *forms):
    return [{"name": name} for form in forms for name in inputs_of(form, bundle)]


def test_hosts_of_this_release_list_their_forms(bundle):
    def listed(*forms):
        return forms_taken(metadata(bundle, parameters={"payload_forms": forms}), bundle)

    assert listed(UINT8, FP32) == [UINT8, FP32]
    assert listed(FP32, UINT8, COEFFICIENTS) == [*SHIPPED]
    assert listed(UINT8, "of a later release") == [UINT8, FP32]


def test_hosts_of_earlier_releases_list_the_tensors_of_their_forms(bundle):
    assert forms_taken(metadata(bundle, inputs=names(bundle, FP32, UINT8, COEFFICIENTS)), bundle) == [*SHIPPED]
    assert forms_taken(metadata(bundle, inputs=names(bundle, FP32)), bundle) == [FP32]
    assert forms_taken(metadata(bundle, inputs=[{"name": "activation_uint8"}]), bundle) == [FP32]


@pytest.mark.parametrize("parameters", [None, [], {}, {"payload_forms": None}, "text"])
def test_other_servers_of_the_protocol_take_fp32(bundle, parameters):
    assert forms_taken(metadata(bundle, parameters=parameters, inputs=None), bundle) == [FP32]


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"{}", b'{"name": "another"}', b"3", b'"text"', b"null"])
def test_what_is_no_metadata_of_this_model(bundle, raw):
    with pytest.raises(ValueError):  # noqa: PT011
        forms_taken(raw, bundle)


@pytest.mark.parametrize("inputs", [[1], [{}], 3, [None]])
def test_inputs_without_names(bundle, inputs):
    with pytest.raises(ValueError, match="inputs without names"):
        forms_taken(metadata(bundle, inputs=inputs), bundle)
