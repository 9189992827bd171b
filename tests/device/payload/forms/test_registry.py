"""The payload forms are found in their folder."""

from device.bundle.reader import FORM_GRAPHS
from device.payload.forms import CLASSES, FORMS, FP32
from tests.device.payload.conftest import SHIPPED


def test_forms_are_found_in_the_folder_from_the_smallest():
    assert [form for form in FORMS if form in SHIPPED] == list(SHIPPED)
    assert [form.bits_per_number for form in CLASSES.values()] == sorted(
        form.bits_per_number for form in CLASSES.values()
    )
    assert FP32 == "fp32"


def test_a_form_has_the_name_of_its_module():
    """device/bundle/reader.py knows the forms by the files of the folder."""
    for name, form in CLASSES.items():
        assert form.__module__ == "device.payload.forms." + name
        assert "from_" + name in FORM_GRAPHS


def test_sizes_are_estimated_from_the_tensors(bundle):
    sizes = [CLASSES[form].estimated_bytes(bundle) for form in SHIPPED]
    values = 6 * 8 * 8
    assert sizes == [(64 * 12 + 64) / 2 + 700, values + 2 + 700, 4 * values + 700]
